//! The ZIPs that no rule takes, those first where most leads were lost.

use std::cmp::Reverse;
use std::sync::Arc;

use leadway_domain::zip::ZipInfo;
use leadway_domain::{Offset, Zip, ZipDirectory};
use leadway_tables::schema::{UNROUTED_SHARDS, UnroutedRow};
use leadway_tables::{Range, Tables, TablesError, key, scan};
use rustc_hash::FxHashMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::matcher::Routing;

/// Unrouted leads that one answer looks at.
const MAX_LEADS: usize = 500_000;
/// Rows of one scan.
const CHUNK: usize = 2_000;

/// A ZIP that no rule takes for a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Gap {
    /// Canonical product name.
    #[schema(example = "Solar")]
    pub product_type: String,
    /// The ZIP.
    #[schema(value_type = String, example = "10001")]
    pub zip_code: Zip,
    /// Its state.
    #[schema(example = "NY")]
    pub state: String,
    /// How many leads wait there because no rule takes them.
    pub leads_lost: u64,
}

/// The order of gaps: the most leads lost first, then by product and ZIP.
pub(crate) type GapRank = (Reverse<u64>, String, u32);

impl Gap {
    pub(crate) fn rank(&self) -> GapRank {
        (Reverse(self.leads_lost), self.product_type.clone(), self.zip_code.number() as u32)
    }
}

/// How many leads wait for want of a rule, by product and ZIP.
#[derive(Default)]
pub(crate) struct Lost {
    counts: FxHashMap<String, FxHashMap<Zip, u64>>,
    /// Whether every lead that waits was counted.
    complete: bool,
}

impl Lost {
    /// Counts them, up to a bounded number of leads.
    pub(crate) async fn count(tables: &dyn Tables) -> Result<Self, TablesError> {
        let mut lost = Self { complete: true, ..Self::default() };
        let mut left = MAX_LEADS;
        for shard in 0..UNROUTED_SHARDS as i64 {
            let mut range = Range::first(CHUNK);
            loop {
                let rows: Vec<UnroutedRow> = scan(tables, &key![shard], range).await?;
                let more = rows.last().filter(|_| rows.len() == CHUNK).map(|row| row.lead_id);
                let Some(room) = left.checked_sub(rows.len()) else {
                    lost.complete = false;
                    return Ok(lost);
                };
                left = room;
                for row in rows {
                    if let (Some("no_rule"), Some(product), Some(zip)) =
                        (row.code.as_deref(), row.service_type, row.customer_zip)
                    {
                        *lost.counts.entry(product).or_default().entry(zip).or_default() += 1;
                    }
                }
                // Reads of an embedded store never wait: others get their turn.
                tokio::task::yield_now().await;
                let Some(last) = more else { break };
                range = Range::first(CHUNK).from(key![leadway_domain::LeadId(last.0 + 1)]);
            }
        }
        Ok(lost)
    }
}

/// Which gaps are asked for.
pub(crate) struct Wanted {
    /// Canonical names, in order.
    pub(crate) products: Vec<String>,
    /// Only this state.
    pub(crate) state: Option<String>,
}

impl Wanted {
    fn has(&self, product: &str, state: &str) -> bool {
        self.products.iter().any(|p| p == product) && self.is_in(state)
    }

    fn is_in(&self, state: &str) -> bool {
        self.state.as_ref().is_none_or(|wanted| wanted == state)
    }
}

/// The gaps of every product at one moment. It holds those in which leads were lost, and of the others only how many there
/// are: they may be millions, and each page finds its own.
pub(crate) struct Survey {
    routing: Arc<Routing>,
    zips: Arc<ZipDirectory>,
    lost: Lost,
    /// The gaps in which leads were lost, in order.
    ranked: Vec<Gap>,
    /// How many gaps there are, by product and state.
    open: FxHashMap<String, FxHashMap<Arc<str>, usize>>,
}

impl Survey {
    /// Looks at every ZIP of every product: not for a thread that serves others.
    pub(crate) fn make(routing: Arc<Routing>, zips: Arc<ZipDirectory>, lost: Lost) -> Self {
        let (mut ranked, mut open) = (Vec::new(), FxHashMap::default());
        for product in routing.settings.products.values().map(|product| &product.name) {
            let lost = lost.counts.get(product);
            let of_states: &mut FxHashMap<Arc<str>, usize> = open.entry(product.clone()).or_default();
            for info in zips.iter().filter(|info| routing.index.find(product, info.zip).is_none()) {
                *of_states.entry(info.state.clone()).or_default() += 1;
                if let Some(leads_lost) = lost.and_then(|lost| lost.get(&info.zip)) {
                    ranked.push(gap(product, info, *leads_lost));
                }
            }
        }
        ranked.sort_by_cached_key(Gap::rank);
        Self { routing, zips, lost, ranked, open }
    }

    /// Of which settings.
    pub(crate) fn settings_version(&self) -> Offset {
        self.routing.settings_version
    }

    /// Whether every lead that waits was counted.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost.complete
    }

    /// How many gaps there are, and how many leads were lost in them.
    pub(crate) fn totals(&self, wanted: &Wanted) -> (usize, u64) {
        let of_products = wanted.products.iter().filter_map(|product| self.open.get(product)).flatten();
        let zips = of_products.filter(|(state, _)| wanted.is_in(state)).map(|(_, count)| count).sum();
        let lost = self.ranked.iter().filter(|gap| wanted.has(&gap.product_type, &gap.state));
        (zips, lost.map(|gap| gap.leads_lost).sum())
    }

    /// The next gaps in order, at most `limit`. It may look at every ZIP: not for a thread that serves others.
    pub(crate) fn page(&self, wanted: &Wanted, after: Option<&GapRank>, limit: usize) -> Vec<Gap> {
        let from = after.map_or(0, |after| self.ranked.partition_point(|gap| gap.rank() <= *after));
        let ranked = self.ranked.iter().skip(from).filter(|gap| wanted.has(&gap.product_type, &gap.state)).cloned();
        // Those in which no lead was lost come after all others.
        let after =
            after.filter(|(Reverse(leads_lost), _, _)| *leads_lost == 0).map(|(_, product, zip)| (product, *zip));
        let others = wanted.products.iter().filter(|product| after.is_none_or(|(seen, _)| *product >= seen));
        let others = others.flat_map(|product| {
            let seen = after.filter(|(seen, _)| *seen == product).map(|(_, zip)| zip);
            self.without_loss(product, wanted, seen)
        });
        ranked.chain(others).take(limit).collect()
    }

    fn without_loss<'s>(
        &'s self,
        product: &'s str,
        wanted: &'s Wanted,
        seen: Option<u32>,
    ) -> impl Iterator<Item = Gap> + 's {
        let lost = self.lost.counts.get(product);
        self.zips
            .iter()
            .filter(move |info| seen.is_none_or(|seen| info.zip.number() as u32 > seen) && wanted.is_in(&info.state))
            .filter(move |info| lost.is_none_or(|lost| !lost.contains_key(&info.zip)))
            .filter(move |info| self.routing.index.find(product, info.zip).is_none())
            .map(move |info| gap(product, info, 0))
    }
}

fn gap(product: &str, info: &ZipInfo, leads_lost: u64) -> Gap {
    Gap { product_type: product.to_owned(), zip_code: info.zip, state: info.state.to_string(), leads_lost }
}
