//! The ZIPs that no rule takes, those first where most leads were lost.

use std::cmp::Reverse;

use leadway_domain::{Zip, ZipDirectory};
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
    counts: FxHashMap<(String, Zip), u64>,
    /// Whether every lead that waits was counted.
    pub(crate) complete: bool,
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
                        *lost.counts.entry((product, zip)).or_default() += 1;
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

/// Every gap of the products, of one state or of all, in order. It looks at every ZIP: not for a thread that serves others.
pub(crate) fn gaps(
    routing: &Routing,
    zips: &ZipDirectory,
    lost: &Lost,
    products: &[String],
    state: Option<&str>,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for product in products {
        let open = zips.iter().filter(|zip| state.is_none_or(|state| *zip.state == *state));
        for zip in open.filter(|zip| routing.index.find(product, zip.zip).is_none()) {
            let leads_lost = lost.counts.get(&(product.clone(), zip.zip)).copied().unwrap_or(0);
            let state = zip.state.to_string();
            gaps.push(Gap { product_type: product.clone(), zip_code: zip.zip, state, leads_lost });
        }
    }
    gaps.sort_by_cached_key(Gap::rank);
    gaps
}
