//! Query strings, read like bodies: every error at once, unknown parameters named.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use leadway_domain::problem::{FieldError, Problem};

use crate::fields::MAX_UNKNOWN;
use crate::problem::Refusal;

/// The parameters of a query string. One that comes more than once is a list with commas.
#[derive(Debug, Default)]
pub(crate) struct Query {
    values: BTreeMap<String, String>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

/// What can be read from a query string.
pub(crate) trait FromQuery: Sized {
    fn read(query: &mut Query) -> Self;
}

/// Typed parameters of a request.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: FromQuery> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let mut query = Query::parse(parts.uri.query().unwrap_or_default());
        let value = T::read(&mut query);
        query.finish()?;
        Ok(Self(value))
    }
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut values = BTreeMap::<String, String>::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let slot = values.entry(name.into_owned()).or_default();
            if !slot.is_empty() {
                slot.push(',');
            }
            slot.push_str(&value);
        }
        Self { values, ..Self::default() }
    }

    /// The parameter, read by `parse`, whose error says the rule.
    pub(crate) fn with<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let parsed = match self.values.get(name)?.as_str() {
            // A variable that was not set must not turn "of this workspace" into "of all".
            "" => Err("must not be empty; leave it out to ask for all".to_owned()),
            text => parse(text),
        };
        match parsed {
            Ok(value) => Some(value),
            Err(rule) => {
                if self.errors.iter().all(|error| error.field != name) {
                    self.errors.push(FieldError::new(name, "invalid", rule));
                }
                None
            }
        }
    }

    /// The parameter as text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.with(name, |text| Ok(text.to_owned()))
    }

    /// The parameter as anything that is made of text.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &'static str, rule: &str) -> Option<T> {
        self.with(name, |text| text.parse().map_err(|_| rule.to_owned()))
    }

    fn finish(mut self) -> Result<(), Problem> {
        let known = self.known.join(", ");
        for name in self.values.keys().filter(|k| !self.known.contains(&k.as_str())).take(MAX_UNKNOWN) {
            let message = format!("is no parameter here; the parameters are {known}");
            self.errors.push(FieldError::new(name, "unknown", message));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::validation(self.errors)) }
    }
}
