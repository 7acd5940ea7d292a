//! Pages in one file: no script, and nothing that a browser would have to fetch.

pub mod chart;
pub mod drill;
pub mod page;
pub mod review;
pub mod style;
pub mod waterfall;

pub use drill::drill;
pub use review::review;

#[cfg(test)]
mod tests {
    use super::style::SHEET;

    /// No script, nothing to fetch, nothing from outside that became markup, and the landmarks.
    pub(super) fn stands_by_itself(page: &str) {
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{page}");
        // Everything from outside is escaped, so that each of these signs begins a tag of ours.
        let (head, sheet) = page.split_once("<style>").unwrap();
        let body = sheet.split_once("</style>").unwrap().1;
        for tag in head.split('<').chain(body.split('<')).skip(1) {
            let tag = tag.split('>').next().unwrap_or_default();
            let (element, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let harmless =
                !["script", "img", "iframe", "object", "embed", "base"].contains(&element);
            let names =
                attributes.split(' ').filter_map(|part| part.split_once("=\"")).map(|(n, _)| n);
            for name in names {
                assert!(!name.starts_with("on") && name != "src" && name != "style", "<{tag}>");
            }
            let link = attributes.split_once("href=\"").map(|(_, link)| link);
            let stays = link.is_none_or(|link| link.starts_with('#') || link.starts_with("data:,"));
            assert!(harmless && stays, "<{tag}>");
        }
        for never in ["url(", "@import", "\u{202e}", "\u{1b}"] {
            assert!(!page.contains(never), "{never}");
        }
        for needed in ["<header>", "<main id=\"content\">", "<footer>", "<h1>", "name=\"viewport\""]
        {
            assert_eq!(page.matches(needed).count(), 1, "{needed}");
        }
        // Every picture says what it shows, every table names its columns.
        assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\"").count());
        assert_eq!(page.matches("<svg").count() + 1, page.matches("<title").count());
        assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
        assert!(page.matches("<th scope=\"col\"").count() >= page.matches("<table>").count());
        let mut ids: Vec<&str> = page
            .match_indices(" id=\"")
            .filter_map(|(at, _)| page[at + 5..].split('"').next())
            .collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "an id stands twice");
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(hex: &str) -> f64 {
        let hex: String = match hex.len() {
            3 => hex.chars().flat_map(|sign| [sign, sign]).collect(),
            _ => hex.to_owned(),
        };
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }

    #[test]
    fn colours_can_be_told_apart_in_both_modes() {
        let modes: Vec<&str> = SHEET.split(":root{").skip(1).collect();
        assert_eq!(modes.len(), 2);
        for mode in modes {
            let colour = |name: &str| {
                let (_, rest) = mode.split_once(&format!("--{name}:#")).unwrap();
                luminance(rest.split([';', '}']).next().unwrap())
            };
            let contrast = |a: &str, b: &str| {
                let (a, b) = (colour(a), colour(b));
                (a.max(b) + 0.05) / (a.min(b) + 0.05)
            };
            for (text, grounds) in [
                ("text", &["ground", "raised"][..]),
                ("soft", &["ground", "raised"]),
                ("link", &["ground", "raised"]),
                ("good", &["ground", "raised", "good-back"]),
                ("doubt", &["ground", "raised", "doubt-back"]),
                ("bad", &["ground", "raised", "bad-back"]),
            ] {
                for ground in grounds {
                    let contrast = contrast(text, ground);
                    assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
                }
            }
            // Graphics need less (1.4.11).
            assert!(contrast("bar", "ground") >= 3.0 && contrast("bar-soft", "ground") >= 2.3);
        }
    }
}
