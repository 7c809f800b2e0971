//! Every rule in one answer, made a stretch at a time of the settings of one moment.

use std::ops::Bound;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::header;
use leadway_domain::RuleId;
use leadway_domain::settings::{Rule, Settings};

use crate::rules::RuleView;
use crate::rules_csv;

/// Rules that are written at once.
const STRETCH: usize = 500;

/// How the rules are written.
struct Form {
    head: String,
    /// Writes rules; whether they are the first ones.
    write: fn(&[&Rule], bool) -> std::io::Result<Vec<u8>>,
    foot: &'static str,
    headers: &'static [(header::HeaderName, &'static str)],
}

fn csv() -> Form {
    Form {
        head: rules_csv::head(),
        write: |rules, _| rules_csv::write(rules.iter().copied()).map_err(std::io::Error::other),
        foot: "",
        headers: &[
            (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"routing-rules.csv\""),
        ],
    }
}

fn json() -> Form {
    Form { head: "[".to_owned(), write: json_items, foot: "]", headers: &[(header::CONTENT_TYPE, "application/json")] }
}

fn json_items(rules: &[&Rule], are_first: bool) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if index > 0 || !are_first {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &RuleView::of(rule))?;
    }
    Ok(text)
}

/// Every rule, older first. What cannot be written breaks the answer off, so that nobody takes a part for all.
pub(crate) fn answer(settings: Arc<Settings>, as_csv: bool) -> Response {
    let Form { head, write, foot, headers } = if as_csv { csv() } else { json() };
    let rules = stream::try_unfold((settings, None::<RuleId>), move |(settings, last)| async move {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rules: Vec<&Rule> =
            settings.rules.range((from, Bound::Unbounded)).take(STRETCH).map(|(_, rule)| &**rule).collect();
        let Some(next) = rules.last().map(|rule| rule.id) else { return Ok(None) };
        let text =
            write(&rules, last.is_none()).inspect_err(|error| tracing::error!(%error, "rules cannot be written"))?;
        Ok::<_, std::io::Error>(Some((Bytes::from(text), (settings.clone(), Some(next)))))
    });
    let all = stream::iter([Ok(Bytes::from(head))]).chain(rules).chain(stream::iter([Ok(Bytes::from(foot))]));
    let mut response = Body::from_stream(all).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    response
}
