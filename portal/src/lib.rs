//! Management API
