//! The HTTP API of Prometheus.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// A running Prometheus.
pub struct Prometheus {
    base: String,
    http: reqwest::Client,
}

/// What a query came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At least one series has a number.
    Data,
    /// No series, or none with a number.
    Empty,
    /// Prometheus cannot evaluate it, and says why.
    Wrong(String),
}

/// An alert, as loaded.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// `ok` once it could be evaluated.
    pub health: String,
}

#[derive(Deserialize)]
struct Reply<T> {
    data: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

impl Prometheus {
    pub(crate) fn new(base: String, http: reqwest::Client) -> Self {
        Self { base, http }
    }

    /// Asks for the value of `query` at this moment.
    pub async fn query(&self, query: &str) -> anyhow::Result<Answer> {
        let parameters = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let reply: Reply<Found> = self.get(&format!("/api/v1/query?{parameters}")).await?;
        Ok(match (reply.data, reply.error) {
            (Some(found), None) if has_number(&found) => Answer::Data,
            (Some(_), None) => Answer::Empty,
            (_, error) => Answer::Wrong(error.unwrap_or_else(|| "it answered neither data nor error".into())),
        })
    }

    /// The alerts, in the order of the file.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let reply: Reply<Groups> = self.get("/api/v1/rules?type=alert").await?;
        let Some(found) = reply.data else { bail!("Prometheus tells no rules: {:?}", reply.error) };
        Ok(found.groups.into_iter().flat_map(|group| group.rules).collect())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await?;
        answer.json().await.with_context(|| format!("Prometheus answered {path} with something else"))
    }
}

/// Whether a vector holds a number, or a scalar is one. Quantiles and shares of nothing are NaN.
fn has_number(found: &Found) -> bool {
    let number = |sample: &Value| {
        let text = sample.get(1).and_then(Value::as_str).unwrap_or_default();
        text.parse::<f64>().is_ok_and(f64::is_finite)
    };
    match (found.result_type.as_str(), found.result.as_array()) {
        ("vector", Some(series)) => series.iter().any(|one| one.get("value").is_some_and(number)),
        ("scalar", Some(_)) => number(&found.result),
        _ => false,
    }
}
