//! Who calls those that wait.

use std::{convert::Infallible, sync::Arc, time::Duration};

use shoal_types::EndpointName;
use tokio::time::{Instant, sleep};

use super::{hold::prospect, line::Line};
use crate::{Ingress, routes::RoutingTable};

/// How often it is looked whether there is room without a word that there may be: what is known of loads ages.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Ingress {
    /// Calls those that wait, as many as there is room for and in their order, whenever there may be some. One task does
    /// it for all, so that nobody is woken in vain and no place is given away twice.
    pub(crate) async fn usher(&self) -> Infallible {
        let mut rerouted = self.rerouted.subscribe();
        loop {
            let anybody_waits = self.waiting.bell.anybody_waits();
            let is_rerouted = tokio::select! {
                biased;
                // The sender lives as long as this ingress.
                _ = rerouted.changed() => true,
                () = self.waiting.bell.rung() => false,
                () = sleep(LOOK_EVERY), if anybody_waits => false,
            };
            let routes = self.routes.load_full();
            for (endpoint, line) in self.waiting.lines() {
                self.call_from(&line, &endpoint, &routes);
                if is_rerouted {
                    line.tell(|wanted| prospect(&routes, wanted).ok());
                }
            }
        }
    }

    fn call_from(&self, line: &Arc<Line>, endpoint: &EndpointName, routes: &RoutingTable) {
        if let Some(route) = routes.route(endpoint.as_str()) {
            let now = Instant::now();
            line.call(route, self.chooser(routes).rooms(route, now), now);
        }
    }
}
