//! The same meshes, with all that happens to them drawn by proptest: what breaks a rule shrinks to the little that it takes.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use shoal_types::{CapacityType, Decimal, HumanDuration, NodeView};

use super::{
    chaos::{Disturbance, Story, Trouble},
    random::Random,
    workload::Workload,
};
use crate::tests::fleet::{id, name, node_view, record};

const CASES: u32 = 32;
/// Longest time between two disturbances, in seconds.
const PAUSE: u64 = 60;
/// Share of the GPUs that are wanted at most.
const FILL: f64 = 0.4;

/// A mesh, what is applied to it, and what comes.
#[derive(Debug, Clone)]
struct Tale {
    hosts: Vec<Host>,
    wishes: Vec<Wish>,
    troubles: Vec<(u64, Trouble)>,
    /// Of how long each piece of news takes, and of which are lost.
    seed: u64,
}

/// A host with eight GPUs.
#[derive(Debug, Clone)]
struct Host {
    zone: Option<u8>,
    home: bool,
    capacity: CapacityType,
    price: Option<f64>,
}

/// An endpoint.
#[derive(Debug, Clone)]
struct Wish {
    gpus: u32,
    replicas: u32,
    elastic: bool,
    replace_after: u64,
    max_unavailable: u32,
    priority: i32,
    defragment: bool,
}

fn tale() -> impl Strategy<Value = Tale> {
    (3usize..=8).prop_flat_map(|nodes| {
        let troubles = vec((1..=PAUSE, trouble(nodes)), 0..12);
        (vec(host(), nodes), vec(wish(), 1..8), troubles, any::<u64>())
            .prop_map(|(hosts, wishes, troubles, seed)| Tale { hosts, wishes, troubles, seed })
    })
}

fn host() -> impl Strategy<Value = Host> {
    let capacity = prop_oneof![Just(CapacityType::OnDemand), Just(CapacityType::Reserved), Just(CapacityType::Spot)];
    let price = prop::option::of(prop_oneof![Just(1.5), Just(2.5), Just(4.0)]);
    (prop::option::of(0u8..3), any::<bool>(), capacity, price).prop_map(|(zone, home, capacity, price)| Host {
        zone,
        home,
        capacity,
        price,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let size = prop_oneof![Just(1u32), Just(2), Just(4), Just(8)];
    let priority = prop_oneof![2 => Just(0), 1 => Just(10)];
    (size, 1u32..=3, any::<bool>(), 0u64..=20, 0u32..=1, priority, any::<bool>()).prop_map(
        |(gpus, replicas, elastic, replace_after, max_unavailable, priority, defragment)| Wish {
            gpus,
            replicas,
            elastic,
            replace_after,
            max_unavailable,
            priority,
            defragment,
        },
    )
}

/// Losses, delays, partitions and restarts, and what people and clients do meanwhile.
fn trouble(nodes: usize) -> impl Strategy<Value = Trouble> {
    let node = || 0..nodes;
    prop_oneof![
        3 => (node(), 2u64..150).prop_map(|(node, away)| {
            (Disturbance::Crash { node }, Some((away, Disturbance::Restart { node })))
        }),
        1 => Just((Disturbance::RestartAll, None)),
        3 => (vec(0usize..3, nodes), 3u64..120).prop_map(|(islands, long)| {
            (Disturbance::Separate { islands }, Some((long, Disturbance::Heal)))
        }),
        2 => (5u32..50, 10u64..60).prop_map(|(percent, long)| {
            (Disturbance::Lose { share: f64::from(percent) / 100.0 }, Some((long, Disturbance::Lose { share: 0.0 })))
        }),
        2 => (node(), 10u64..60).prop_map(|(node, long)| {
            (Disturbance::Slow { node, slow: true }, Some((long, Disturbance::Slow { node, slow: false })))
        }),
        1 => (node(), 10u64..200).prop_map(|(node, long)| {
            (Disturbance::Drain { node }, Some((long, Disturbance::Stay { node })))
        }),
        1 => Just((Disturbance::CrashEngine, None)),
        1 => Just((Disturbance::Scale, None)),
        1 => Just((Disturbance::Revise, None)),
        2 => (node(), 0u32..40).prop_map(|(node, inflight)| (Disturbance::Ask { node, inflight }, None)),
    ]
}

impl Tale {
    fn begin(self) -> Story {
        let nodes: Vec<NodeView> = (1..).zip(&self.hosts).map(|(number, host)| host.view(number)).collect();
        let most = (nodes.len() * 8) as f64 * FILL;
        let mut used = 0;
        let mut workload = Workload::new();
        for (index, wish) in self.wishes.iter().enumerate() {
            used += wish.gpus * wish.replicas;
            // The first is there in any case: it fits any fleet.
            if index > 0 && f64::from(used) > most {
                break;
            }
            let endpoint = format!("e{index}");
            workload.insert(name(&endpoint), Arc::new(wish.record(&endpoint)));
        }
        Story::of(nodes, workload, self.troubles, Random::new(self.seed))
    }
}

impl Host {
    fn view(&self, number: u8) -> NodeView {
        let mut view = node_view(id(number), 8);
        let labels = &mut view.facts.labels;
        labels.zone = self.zone.map(|zone| format!("z{zone}"));
        labels.cluster = if self.home { "home".to_owned() } else { "burst".to_owned() };
        (labels.capacity_type, labels.price) = (self.capacity, self.price);
        view
    }
}

impl Wish {
    fn record(&self, endpoint: &str) -> shoal_types::EndpointRecord {
        let mut record = record(endpoint, self.gpus, self.replicas);
        let spec = &mut record.endpoint.spec;
        if self.elastic {
            spec.replicas.max = Some(self.replicas + 2);
            spec.scaling.targets.inflight = Some(Decimal::from_whole(10));
            spec.scaling.up_delay = HumanDuration::from_secs(5);
            spec.scaling.down_delay = HumanDuration::from_secs(30);
        }
        spec.rollout.max_unavailable = self.max_unavailable;
        spec.placement.replace_after = HumanDuration::from_secs(self.replace_after);
        spec.placement.priority = self.priority;
        spec.placement.defragment = self.defragment;
        record
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// At every moment what [`watch`](super::watch) says: no engine is started beyond the surge, and none drains without
    /// those that are to serve in its place. In the end there is exactly what is wanted, within the time that
    /// [`Story::run`] gives, but for what has no room.
    #[test]
    fn rules_3_to_7_hold_through_losses_delays_partitions_and_restarts(tale in tale()) {
        let (wrong, _) = tale.begin().run();
        prop_assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
