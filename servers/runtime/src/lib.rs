//! What both servers share: config, logging, the secret, shutdown.
