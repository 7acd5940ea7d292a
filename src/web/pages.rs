//! Pages for people: made here, whole, so that they are read without a script, on a phone and by a screen
//! reader. The one script looks again at what changes.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{problem::Problem, site::Site};
use crate::{
    drill::format::duration,
    report::{
        html::page::{self, Served, text},
        terminal::time,
    },
};

mod archives;
mod drill;
mod job;
mod live;
mod overview;
mod window;

/// What stands in an address as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Looks again at parts of a page.
const SCRIPT: &str = include_str!("pages/look.js");

/// Who answers.
pub fn router() -> Router<Site> {
    Router::new()
        .route("/", get(overview::overview))
        .route("/jobs/{job}", get(job::job).post(job::start))
        .route("/drills/{drill}", get(drill::drill))
        .route("/archives", get(archives::list))
        .route("/archives/{archive}", get(archives::one))
        .route("/look.js", get(script))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

/// What is said at an address that is none.
pub async fn nothing(State(_): State<Site>, uri: Uri, headers: HeaderMap) -> Response {
    let wants = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !uri.path().starts_with("/api/") && wants.is_some_and(|accept| accept.contains("text/html"))
    {
        return refused(&Problem::no_page());
    }
    Problem::no_page().into_response()
}

/// A page that goes by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Overview,
    Archives,
    /// Below one of them.
    Other,
}

/// How often a page looks at itself again; `None`: it does not change.
type Look = Option<Duration>;

/// A page in its frame.
fn shell(place: Place, look: Look, title: &str, lead: &Markup, content: &Markup) -> Html<String> {
    let ways = [("/", "Overview", Place::Overview), ("/archives", "Archives", Place::Archives)];
    let navigation = html! {
        @if look.is_some() { p id="old" class="card bad" role="alert" hidden {} }
        nav aria-label="Pages" {
            @for (path, name, here) in ways {
                a href=(path) aria-current=[(here == place).then_some("page")] { (name) }
            }
        }
    };
    let head = html! {
        @if let Some(every) = look {
            script src="/look.js" data-every=(every.as_millis()) defer {}
            noscript { meta http-equiv="refresh" content=(every.as_secs().max(5) * 4); }
        }
    };
    let served = Served { navigation: &navigation, head: &head };
    Html(page::served(title, lead, content, served).into_string())
}

/// A page that says what is wrong.
fn refused(problem: &Problem) -> Response {
    let lead = html! { p { (text(&problem.message)) } };
    let content = html! {
        @if let Some(hint) = &problem.hint { p { strong { "What to do: " } (text(hint)) } }
    };
    let title = problem.status.canonical_reason().unwrap_or("Not possible");
    problem.dress(shell(Place::Other, None, title, &lead, &content).into_response())
}

/// The address of something with a name.
fn to(folder: &str, name: &str) -> String {
    format!("/{folder}/{}", utf8_percent_encode(name, PLAIN))
}

/// A time, as machines read it, too.
fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (time(at)) } }
}

/// How long ago something was, or how long it is until then.
fn distance(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs_f64();
    if seconds >= 0.0 {
        format!("{} ago", duration(seconds))
    } else {
        format!("in {}", duration(-seconds))
    }
}
