//! The operators' page: one document, one style, one script, all of them in the program. It holds nothing of the border: what it shows it asks the API for, with the
//! operator's token. Nothing is loaded from elsewhere, and no script runs but this one (Content Security Policy Level 3).

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Desk;
use crate::adapters::telemetry::ladder;

const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, type and content.
const PARTS: [(&str, &str, &str); 8] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("../page/page.js")),
    ("/ladder.js", "text/javascript; charset=utf-8", include_str!("../page/ladder.js")),
    ("/ladder.css", "text/css; charset=utf-8", ladder::STYLE),
    ("/explain.js", "text/javascript; charset=utf-8", include_str!("../page/explain.js")),
    ("/live.js", "text/javascript; charset=utf-8", include_str!("../page/live.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

pub(super) fn routes() -> Router<Arc<Desk>> {
    PARTS.into_iter().fold(Router::new(), |router, (path, kind, content)| router.route(path, get(move || async move { part(kind, content) })))
}

fn part(kind: &'static str, content: &'static str) -> Response {
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer"), (header::X_FRAME_OPTIONS, "DENY")];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_keeps_to_its_policy() {
        let (_, _, document) = PARTS[0];
        assert!(
            !document.contains(" style=") && !document.contains(" onclick") && !document.contains(" onload") && !document.contains("<style"),
            "nothing inline"
        );
        assert_eq!(document.matches("<script").count(), document.matches("<script type=\"module\" src=\"/").count());
        for (path, _, content) in PARTS {
            let elsewhere = content.matches("http").count() - content.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(elsewhere, 0, "{path} names another place");
            assert!(
                !content.contains("innerHTML") && !content.contains("insertAdjacentHTML") && !content.contains("eval("),
                "{path}: text never becomes markup"
            );
        }
    }
}
