//! The Atom feed (RFC 4287) of releases. Pure: releases to text.
//!
//! Ids are made of the marketplace's and the releases' own, and links are relative to the feed's address: so the feed is the
//! same by whatever name, and behind whatever proxy, it is fetched.

use std::fmt::Write as _;

use addon_client::Timestamp;
use addon_descriptor::Digest;
use serde_json::Value;

use crate::domain::release::Release;
use crate::storage::Identity;

/// Longest summary, in characters: a feed is read in lists.
const SUMMARY: usize = 500;

/// The feed of these releases, the newest first; of one addon, or of all.
pub(super) fn feed(identity: &Identity, addon: Option<&str>, releases: &[Release]) -> String {
    let updated = releases.iter().map(approved_at).max().unwrap_or(identity.made_at);
    let about = addon.map_or_else(|| identity.uid.clone(), |addon| format!("{}/{addon}", identity.uid));
    let title =
        addon.map_or_else(|| "New releases of addons".to_owned(), |addon| format!("New releases of {addon}"));
    // A folded name is made of letters, digits and `-`.
    let query = addon.map(|addon| format!("?name={addon}")).unwrap_or_default();
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n",
    );
    element(&mut text, 1, "id", &urn("feed", &about));
    element(&mut text, 1, "title", &title);
    element(&mut text, 1, "updated", &updated.to_string());
    _ = writeln!(text, "  <author><name>Addon Marketplace</name></author>");
    _ = writeln!(
        text,
        "  <link rel=\"self\" type=\"application/atom+xml\" href=\"{}{}\"/>",
        super::FEED,
        escape(&query)
    );
    for release in releases {
        entry(&mut text, release);
    }
    text.push_str("</feed>\n");
    text
}

fn entry(text: &mut String, release: &Release) {
    let fields = release.wire.object();
    let field = |name: &str| fields.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    let name = field("name").unwrap_or(&release.addon);
    let at = approved_at(release).to_string();
    text.push_str("  <entry>\n");
    element(text, 2, "id", &urn("release", &release.id.to_string()));
    element(text, 2, "title", &format!("{name} {}", release.version));
    element(text, 2, "updated", &at);
    element(text, 2, "published", &release.created_at.to_string());
    _ = writeln!(text, "    <author><name>{}</name></author>", escape(&release.publisher));
    _ = writeln!(
        text,
        "    <link rel=\"alternate\" type=\"application/json\" href=\"{}/{}\"/>",
        super::super::ADDONS,
        release.id
    );
    let categories = fields.get("categories").and_then(Value::as_array);
    for category in categories.into_iter().flatten().filter_map(Value::as_str) {
        _ = writeln!(text, "    <category term=\"{}\"/>", escape(category));
    }
    let summary = field("description").or_else(|| field("title"));
    if let Some(summary) = summary {
        let shown: String = summary.chars().take(SUMMARY).collect();
        let more = if shown.len() < summary.len() { "…" } else { "" };
        element(text, 2, "summary", &format!("{shown}{more}"));
    }
    text.push_str("  </entry>\n");
}

fn approved_at(release: &Release) -> Timestamp {
    release.approved_at.unwrap_or(release.created_at)
}

fn element(text: &mut String, depth: usize, name: &str, content: &str) {
    let (indent, content) = ("  ".repeat(depth), escape(content));
    _ = writeln!(text, "{indent}<{name}>{content}</{name}>");
}

/// An id that is this thing's for ever: a UUID of version 8 (RFC 9562, 5.8), made of a digest.
fn urn(kind: &str, what: &str) -> String {
    let hex = Digest::of(format!("{kind}:{what}").as_bytes()).hex();
    let (time, rest) = (&hex[..8], &hex[8..32]);
    format!("urn:uuid:{time}-{}-8{}-8{}-{}", &rest[..4], &rest[5..8], &rest[9..12], &rest[12..24])
}

/// A text as it stands in XML, between tags and in attributes. Characters that XML 1.0 (2.2) cannot hold become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(c),
            // A parser makes a line feed of a carriage return.
            '\r' => escaped.push_str("&#13;"),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use addon_client::{ReleaseId, ReleaseStatus, Verdict};
    use serde_json::json;

    use super::*;
    use crate::domain::release::Fields;

    fn identity() -> Identity {
        Identity { uid: "0123456789abcdef".repeat(2), made_at: Timestamp::from_millis(0) }
    }

    fn release(description: &str) -> Release {
        let wire = json!({"name": "My.Probe", "description": description, "categories": ["a&b"]});
        Release {
            id: ReleaseId::new(1, [2; 8]),
            seq: 1,
            addon: "my-probe".to_owned(),
            version: "1.2.3".parse().unwrap(),
            digest: Digest::of(b"x"),
            wire: Fields::of(wire.as_object().unwrap()),
            rights: Vec::new(),
            risk: 1,
            warnings: Vec::new(),
            publisher: "paul".to_owned(),
            created_at: Timestamp::from_millis(1_000),
            status: ReleaseStatus::Approved,
            verdict: Verdict::Pass,
            held: Vec::new(),
            pins: Vec::new(),
            reason: None,
            approved_at: Some(Timestamp::from_millis(2_000)),
            yanked_by_admin: false,
            waiting_since: None,
            image_missing_since: None,
        }
    }

    #[test]
    fn a_feed_has_what_atom_asks_for() {
        let text = feed(&identity(), Some("my-probe"), &[release("<b>\"fast\" & 'small'</b>\u{1}\r\n")]);
        let expected = "<?xml version=\"1.0\" encoding=\"utf-8\"?>
<feed xmlns=\"http://www.w3.org/2005/Atom\">
  <id>FEED</id>
  <title>New releases of my-probe</title>
  <updated>1970-01-01T00:00:02.000Z</updated>
  <author><name>Addon Marketplace</name></author>
  <link rel=\"self\" type=\"application/atom+xml\" href=\"/api/v1/marketplace/feed.atom?name=my-probe\"/>
  <entry>
    <id>RELEASE</id>
    <title>My.Probe 1.2.3</title>
    <updated>1970-01-01T00:00:02.000Z</updated>
    <published>1970-01-01T00:00:01.000Z</published>
    <author><name>paul</name></author>
    <link rel=\"alternate\" type=\"application/json\" href=\"/api/v1/marketplace/addons/000000010202020202020202\"/>
    <category term=\"a&amp;b\"/>
    <summary>&lt;b&gt;&quot;fast&quot; &amp; &#39;small&#39;&lt;/b&gt;\u{fffd}&#13;
</summary>
  </entry>
</feed>
";
        let feed_id = urn("feed", &format!("{}/my-probe", identity().uid));
        let release_id = urn("release", "000000010202020202020202");
        assert_eq!(text, expected.replace("FEED", &feed_id).replace("RELEASE", &release_id));
    }

    #[test]
    fn an_empty_feed_is_one_too() {
        let text = feed(&identity(), None, &[]);
        assert!(text.contains("<updated>1970-01-01T00:00:00.000Z</updated>"), "{text}");
        assert!(text.contains("href=\"/api/v1/marketplace/feed.atom\"/>"), "{text}");
        assert!(!text.contains("<entry>"));
    }

    #[test]
    fn ids_are_uuids_and_stay() {
        let id = urn("release", "000000010202020202020202");
        assert_eq!(id.len(), "urn:uuid:".len() + 36);
        let uuid: Vec<&str> = id["urn:uuid:".len()..].split('-').collect();
        assert_eq!(uuid.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(uuid[2].starts_with('8') && uuid[3].starts_with('8'), "{id}");
        assert_ne!(id, urn("feed", "000000010202020202020202"));
        assert_eq!(id, urn("release", "000000010202020202020202"));
    }

    #[test]
    fn a_long_description_is_cut() {
        let text = feed(&identity(), None, &[release(&"ñ".repeat(501))]);
        assert!(text.contains(&format!("<summary>{}…</summary>", "ñ".repeat(500))), "{text}");
    }
}
