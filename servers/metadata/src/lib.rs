//! The metadata server: namespace, recipes, sizes, sessions, tokens.
