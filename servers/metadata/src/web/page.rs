//! The page: markup, style and script in one answer.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

const MARKUP: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page, ready to be sent as often as it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Page {
    body: Bytes,
    policy: String,
}

/// Puts the page together.
pub(super) fn page() -> Page {
    let body = MARKUP.replace("{style}", STYLE).replace("{script}", SCRIPT);
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    );
    Page { body: Bytes::from(body), policy }
}

/// The only style or script that may be used.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
        ([kind, (header::CONTENT_SECURITY_POLICY, self.policy)], self.body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is hashed is what is between the tags, and nothing is fetched from elsewhere.
    #[test]
    fn the_page_is_whole_and_all_its_own() {
        let page = page();
        let text = std::str::from_utf8(&page.body).unwrap();
        for (tag, content) in [("style", STYLE), ("script", SCRIPT)] {
            assert!(text.contains(&format!("<{tag}>{content}</{tag}>")), "{tag}");
            assert!(!content.contains(&format!("</{tag}")), "{tag} ends early");
        }
        assert!(!text.contains("{style}") && !text.contains("{script}"));
        let namespace = "http://www.w3.org/2000/svg";
        let elsewhere = text.replace(namespace, "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://") && !elsewhere.contains("innerHTML"));
        assert_eq!(page.policy.matches("sha256-").count(), 2);
    }
}
