//! Prices from files.

use std::{collections::BTreeMap, path::Path};

use shoal_placement::spot::Market;

use super::table::Table;
use crate::admin::{Code, Problem};

/// Reads what spot capacity costs in the regions of `zones`. On demand, the cheapest region of them is used.
pub(super) fn read(path: &Path, zones: &[String]) -> Result<Market, Problem> {
    let table = Table::read(path)?;
    let mut regions = BTreeMap::new();
    for (row, [region, spot, firm]) in table.rows(["region", "spot_usd_per_gpu_hour", "ondemand_usd_per_gpu_hour"])? {
        let price = |text: &str| {
            let number = text.parse::<f64>().ok().filter(|price| price.is_finite() && *price > 0.0);
            number.ok_or_else(|| table.problem(row, &format!("`{text}` is not a price")))
        };
        regions.insert(region, (price(spot)?, price(firm)?));
    }
    let priced = |zone: &String| {
        let region = zone.rsplit_once('-').map_or(zone.as_str(), |(region, _)| region);
        let prices = regions.get(zone.as_str()).or_else(|| regions.get(region)).copied();
        let missing = || Problem::new(Code::Invalid, format!("{} has no price of zone {zone}", path.display()));
        prices.map(|prices| (zone.clone(), prices)).ok_or_else(missing)
    };
    let priced: Vec<(String, (f64, f64))> = zones.iter().map(priced).collect::<Result<_, _>>()?;
    let firm = priced.iter().map(|(_, (_, firm))| *firm).fold(f64::INFINITY, f64::min);
    Ok(Market::of_zones(priced.into_iter().map(|(zone, (spot, _))| (zone, spot)), firm))
}
