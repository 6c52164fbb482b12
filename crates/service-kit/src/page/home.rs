//! `/` for a browser: which service this is and how it is now. Values in, HTML out; `page.js` asks for it again and again.

use std::fmt::Write as _;

use super::about::{About, Count, Other};
use crate::health::Status;

/// What the page shows of a service.
pub(super) struct Home<'a> {
    pub(super) title: &'a str,
    /// The warning of open mode, or nothing.
    pub(super) warning: &'a str,
    pub(super) about: &'a About,
    pub(super) status: &'a Status,
    pub(super) counts: Option<Vec<Count>>,
    /// Where the administrator's token is; none in open mode.
    pub(super) token: Option<String>,
}

impl Home<'_> {
    pub(super) fn render(&self) -> String {
        let all = self.status.checks.iter().all(|check| check.ok);
        let (class, words) = match (self.status.is_ready(), all) {
            (true, true) => ("ready", "Ready"),
            (true, false) => ("limited", "Ready, though not all of it works"),
            (false, _) => ("failing", "Not ready"),
        };
        include_str!("root.html")
            .replace("{{title}}", self.title)
            .replace("{{version}}", env!("CARGO_PKG_VERSION"))
            .replace("{{warning}}", self.warning)
            .replace("{{purpose}}", &escaped(self.about.purpose))
            .replace("{{class}}", class)
            .replace("{{status}}", words)
            .replace("{{checks}}", &self.checks())
            .replace("{{counts}}", &self.counts())
            // Last: they have texts from elsewhere.
            .replace("{{token}}", &self.token())
            .replace("{{other}}", &self.other())
    }

    fn checks(&self) -> String {
        let mut rows = String::new();
        for check in &self.status.checks {
            let (class, word) = match (check.ok, check.informative) {
                (true, _) => ("good", "works"),
                (false, true) => ("warn", "does not work"),
                (false, false) => ("bad", "does not work"),
            };
            let said = check.message.as_deref().map_or_else(|| word.to_owned(), escaped);
            let _ = writeln!(
                rows,
                "<li class=\"{class}\"><b>{}</b> <span>{said}</span></li>",
                escaped(check.name)
            );
        }
        rows
    }

    fn counts(&self) -> String {
        let mut rows = String::new();
        for Count { number, what } in self.counts.iter().flatten() {
            let _ = writeln!(rows, "<li><b>{number}</b> <span>{}</span></li>", escaped(what));
        }
        if rows.is_empty() { rows } else { format!("<ul class=\"counts\">\n{rows}</ul>") }
    }

    fn token(&self) -> String {
        match &self.token {
            Some(whereabouts) => format!(
                "<p>Calls are made with <code>Authorization: Bearer …</code>; {}.</p>",
                escaped(whereabouts)
            ),
            None => "<p>Calls need no token: the service runs in open mode.</p>".to_owned(),
        }
    }

    fn other(&self) -> String {
        self.about.other.as_ref().map(|one| format!("<p>{}</p>", other(one))).unwrap_or_default()
    }
}

/// What is said of the other service, with a link to it where its place is known.
pub(super) fn other(other: &Other) -> String {
    let link = other.url.as_deref().map(escaped);
    let link = link.map(|url| format!(" <a href=\"{url}\">{url}</a>")).unwrap_or_default();
    format!("<span>{}{link}</span>", escaped(&other.text))
}

/// Text as it stands in HTML, between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::CheckStatus;

    fn check(name: &'static str, ok: bool, informative: bool, message: Option<&str>) -> CheckStatus {
        CheckStatus { name, ok, informative, message: message.map(str::to_owned) }
    }

    #[test]
    fn a_page_says_what_is_wrong_and_lets_nothing_through_as_html() {
        let about = About::new("Serves <things>.").beside("Made by", Some("http://a/\"><script>".to_owned()));
        let checks =
            vec![check("database", true, false, None), check("engine", false, true, Some("<none> at x"))];
        let status = Status::new(checks);
        let counts = Some(vec![Count { number: 3, what: "things".to_owned() }]);
        let token = Some("the token is in /var/lib/<x>/admin-token".to_owned());
        let home = Home { title: "Things", warning: "", about: &about, status: &status, counts, token };
        let page = home.render();
        for expected in [
            "<h1>Things</h1>",
            "Serves &lt;things&gt;.",
            "<section id=\"state\" class=\"limited\"",
            "Ready, though not all of it works",
            "<li class=\"good\"><b>database</b> <span>works</span></li>",
            "<li class=\"warn\"><b>engine</b> <span>&lt;none&gt; at x</span></li>",
            "<li><b>3</b> <span>things</span></li>",
            "/var/lib/&lt;x&gt;/admin-token",
            "<a href=\"http://a/&quot;&gt;&lt;script&gt;\">",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
        assert!(!page.contains("{{"), "{page}");

        let status = Status::new(vec![check("database", false, false, None)]);
        let page = Home { status: &status, counts: None, token: None, ..home }.render();
        for expected in ["class=\"failing\"", "Not ready", "<li class=\"bad\"><b>database</b>", "open mode"] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }
}
