//! A whole cluster in one process or in real processes, for tests.
