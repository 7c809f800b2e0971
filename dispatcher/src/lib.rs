//! Webhook delivery: shape, sign, limit, deliver, retry
