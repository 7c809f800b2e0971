//! Sums of a span, grouped as asked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use leadway_tables::schema::{DailyRow, QUARTER_SECONDS, quarter};
use leadway_tables::{Range, key, scan};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Answer;
use crate::query::Query;
use crate::span::Span;
use crate::state::Portal;

/// Rows of one scan.
const CHUNK: usize = 2_000;

/// What sums are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Workspace,
    Provider,
    Product,
    Day,
}

/// The dimensions of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupBy(Vec<Dimension>);

/// What a row of sums is about; only the fields that were grouped by are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(crate) struct Group {
    /// Day, in the time zone asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2024-01-15")]
    pub(crate) day: Option<String>,
    /// Workspace; empty for what belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "solar_west_coast")]
    pub(crate) workspace_id: Option<String>,
    /// Provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider_id: Option<String>,
    /// Canonical product name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) product_type: Option<String>,
}

impl GroupBy {
    /// Reads `group_by`: one or several of `allowed`, with commas or repeated.
    pub(crate) fn read(query: &mut Query, allowed: &[(&str, Dimension)]) -> Self {
        let read = query.with("group_by", |text| {
            let find = |name: &str| allowed.iter().find(|(n, _)| *n == name.trim()).map(|(_, d)| *d);
            let dimensions: Option<Vec<Dimension>> = text.split(',').map(find).collect();
            let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
            dimensions.ok_or_else(|| format!("must be one or several of {}, with commas", names.join(", ")))
        });
        Self(read.unwrap_or_default())
    }

    pub(crate) fn has(&self, dimension: Dimension) -> bool {
        self.0.contains(&dimension)
    }

    fn group(&self, row: &DailyRow, zone: &TimeZone) -> Group {
        let when = |dimension, text: &dyn Fn() -> String| self.has(dimension).then(text);
        Group {
            day: when(Dimension::Day, &|| begin_of(row).to_zoned(zone.clone()).date().to_string()),
            workspace_id: when(Dimension::Workspace, &|| row.workspace.clone()),
            provider_id: when(Dimension::Provider, &|| row.provider_id.to_string()),
            product_type: when(Dimension::Product, &|| row.product_type.clone()),
        }
    }
}

/// When the row's quarter of an hour begins.
fn begin_of(row: &DailyRow) -> Timestamp {
    let seconds = i64::from(row.day.number()) * 86_400 + row.quarter * QUARTER_SECONDS;
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Every row of the span's quarters of an hour, to be folded one by one.
pub(crate) async fn for_each(portal: &Portal, span: &Span, mut fold: impl FnMut(DailyRow)) -> Answer<()> {
    let span = span.in_quarters();
    for day in span.days() {
        let mut range = Range::first(CHUNK);
        if day == span.first_day() {
            range = range.from(key![quarter(span.from)]);
        }
        // The end lies outside: at midnight all of the last day is in it.
        let end = (day == span.last_day()).then(|| quarter(span.to)).filter(|end| *end > 0);
        range.before = end.map(|end| key![end]);
        loop {
            let mut rows: Vec<DailyRow> = scan(&*portal.tables, &key![day], range).await?;
            let next = (rows.len() == CHUNK).then(|| rows.pop()).flatten();
            rows.into_iter().for_each(&mut fold);
            // The row that was taken off begins the next chunk.
            let Some(next) = next else { break };
            let DailyRow { quarter, provider_id, workspace, product_type, topic, log_partition, .. } = next;
            range = Range::first(CHUNK).from(key![quarter, provider_id, workspace, product_type, topic, log_partition]);
            range.before = end.map(|end| key![end]);
        }
    }
    Ok(())
}

/// Folds the span's rows into one value per group.
pub(crate) async fn grouped<T: Default>(
    portal: &Portal,
    span: &Span,
    zone: &TimeZone,
    group_by: &GroupBy,
    mut fold: impl FnMut(&mut T, &DailyRow),
) -> Answer<BTreeMap<Group, T>> {
    let mut groups = BTreeMap::<Group, T>::new();
    for_each(portal, span, |row| fold(groups.entry(group_by.group(&row, zone)).or_default(), &row)).await?;
    Ok(groups)
}
