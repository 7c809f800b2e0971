//! The HTTP front for lead providers: limit, authenticate, parse, map, normalise, validate, deduplicate, append.
//!
//! [`Ingest::handle`] answers one request; a 2xx is given only once the lead is durable in the log. [`Ingest::follow`]
//! keeps the submission window, so that a lead posted again, to this node or a peer, gets the first one's answer. What
//! makes a posted object a lead is decided in [`leadway_domain::intake`]; here is everything around it.

mod ages;
mod answer;
mod append;
mod auth;
mod body;
mod budget;
mod charset;
mod cors;
mod dedupe;
mod error;
mod follow;
mod form;
mod gate;
mod head;
mod json_error;
mod judge;
mod large;
mod limits;
mod many;
mod measure;
mod mend;
mod notebook;
mod notes;
mod options;
mod own;
mod parse;
mod read;
mod refusal;
mod refused;
mod service;
mod signature;
mod submit;
mod values;
mod xml;

pub use error::Error;
pub use options::Options;
pub use service::Ingest;
