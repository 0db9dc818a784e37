//! What can be rented, where, and at what price.

use shoal_types::CapacityType;

/// One kind of capacity in one zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The failure domain.
    pub zone: String,
    /// What the provider may do to it.
    pub capacity: CapacityType,
    /// USD per GPU-hour.
    pub price: f64,
}

/// One offer of a [`Market`], by its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub usize);

/// All that can be rented.
#[derive(Debug, Clone, PartialEq)]
pub struct Market {
    offers: Vec<Offer>,
}

impl Market {
    /// What capacity that stays costs, by the price of spot capacity, where nobody says: what an H100 costs on average.
    pub const ON_DEMAND_RATIO: f64 = 4.35;

    /// A market of `offers`.
    pub const fn new(offers: Vec<Offer>) -> Self {
        Self { offers }
    }

    /// Spot capacity in `zones`, each with its price in USD per GPU-hour, and capacity that stays at `on_demand`.
    pub fn of_zones(zones: impl IntoIterator<Item = (String, f64)>, on_demand: f64) -> Self {
        let spot = zones.into_iter().map(|(zone, price)| Offer { zone, capacity: CapacityType::Spot, price });
        let firm = Offer { zone: "on-demand".to_owned(), capacity: CapacityType::OnDemand, price: on_demand };
        Self { offers: spot.chain([firm]).collect() }
    }

    /// All offers, in the order of their ids.
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// What may be taken back.
    pub fn spot(&self) -> impl Iterator<Item = OfferId> {
        self.ids().filter(|&id| self.is_spot(id))
    }

    /// The cheapest that stays; ties go to the first.
    pub fn cheapest_firm(&self) -> Option<OfferId> {
        self.ids().filter(|&id| !self.is_spot(id)).min_by(|&a, &b| self.price(a).total_cmp(&self.price(b)))
    }

    /// Whether `id` may be taken back. What is not of this market stays: nothing of it is ever held.
    pub fn is_spot(&self, id: OfferId) -> bool {
        self.offers.get(id.0).is_some_and(|offer| offer.capacity == CapacityType::Spot)
    }

    /// USD per GPU-hour of `id`; 0 for what is not of this market.
    pub fn price(&self, id: OfferId) -> f64 {
        self.offers.get(id.0).map_or(0.0, |offer| offer.price)
    }

    fn ids(&self) -> impl Iterator<Item = OfferId> {
        (0..self.offers.len()).map(OfferId)
    }
}
