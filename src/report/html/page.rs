//! The frame of every page: landmarks, the sheet, and nothing that has to be fetched.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::style::SHEET;
use crate::{
    drill::{Verdict, format::printable},
    report::terminal::layout::Tone,
};

/// What a page in a file may do: nothing but show itself. A server says it of its pages by itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// What a page has where a server shows it.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The way to other pages.
    pub navigation: &'a Markup,
    /// What else is in its head.
    pub head: &'a Markup,
}

/// A whole page in a file. `title` is its heading, too; `lead` is what stands below it.
#[must_use]
pub fn page(title: &str, lead: &Markup, content: &Markup) -> Markup {
    frame(title, lead, content, None)
}

/// A whole page, as [`page`], of a server.
#[must_use]
pub fn served(title: &str, lead: &Markup, content: &Markup, by: Served<'_>) -> Markup {
    frame(title, lead, content, Some(by))
}

fn frame(title: &str, lead: &Markup, content: &Markup, served: Option<Served<'_>>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if served.is_none() {
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                }
                // Without one a browser asks the server for a picture.
                link rel="icon" href="data:,";
                title { (text(title)) " · pgassay" }
                style { (PreEscaped(SHEET)) }
                @if let Some(served) = served { (served.head) }
            }
            body {
                a class="skip" href="#content" { "Skip to the content" }
                header {
                    @if let Some(served) = served { (served.navigation) }
                    h1 { (text(title)) }
                    (lead)
                }
                main id="content" { (content) }
                footer { "pgassay " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

/// A text from outside: control characters and those that reorder a line become escapes; the markup
/// escapes the rest.
#[must_use]
pub fn text(from_outside: &str) -> String {
    printable(from_outside)
}

/// The class of a tone.
#[must_use]
pub const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Doubt => "doubt",
        Tone::Bad => "bad",
    }
}

/// A verdict in its colour and its word.
#[must_use]
pub fn badge(verdict: Verdict) -> Markup {
    let tone = class(crate::report::history::tone(verdict));
    html! { span class={ "badge " (tone) } { (verdict.name().to_uppercase()) } }
}

/// A table that scrolls by itself where it is wider than the page. `caption` names it.
#[must_use]
pub fn table(caption: &str, head: &[(&str, bool)], rows: &Markup) -> Markup {
    html! {
        div class="scroll" role="region" tabindex="0" aria-label=(caption) {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for (name, number) in head {
                            th scope="col" class=[number.then_some("number")] { (name) }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}
