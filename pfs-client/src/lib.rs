//! The client library: sessions, token driver, data path.
