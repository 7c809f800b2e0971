//! Stream consumers that keep the tables of results
