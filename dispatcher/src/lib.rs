//! Webhook delivery: shape, sign, limit, deliver, retry.
//!
//! [`Dispatcher`] consumes the topic `appointments` and posts each appointment to its workspace. Every outcome becomes a
//! record in `deliveries`; what must wait longer than memory should hold it waits in the table `open_deliveries`, which
//! scoring fills from those records. Delivery is at least once, with a `webhook-id` that stays the same.
//!
//! The pure parts decide (`schedule`, `circuit`, `outcome`, `progress`, `endpoint`); `stage` does what they say.

mod agenda;
mod circuit;
mod client;
mod commit;
mod connect;
mod deliver;
mod due;
mod endpoint;
mod error;
mod flights;
mod heard;
mod http;
mod lane;
mod limits;
mod lookup;
mod meters;
mod open;
mod options;
mod outcome;
mod payload;
mod plain;
mod progress;
mod readable;
mod resume;
mod schedule;
mod sign;
mod stage;
mod transport;
mod trouble;

pub use error::Error;
pub use http::HttpTransport;
pub use options::Options;
pub use plain::warn_of_plain_targets;
pub use stage::Dispatcher;
pub use transport::{Answer, SendError, Target, Transport, WebhookRequest};
