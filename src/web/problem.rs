//! What is said where a request cannot be answered.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::view::{ErrorBody, ErrorView};
use crate::{
    drill::{Error, error::ErrorKind},
    schedule::agenda::NotAsked,
    service::Declined,
};

/// A status, a code that stays, a sentence and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>, hint: &str) -> Self {
        Self { status, code, message: message.into(), hint: Some(hint.to_owned()) }
    }

    pub fn no_page() -> Self {
        let hint = "All pages are reached from the overview; the API is described at /api/v1/openapi.json.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address", hint)
    }

    pub fn no_job(name: &str) -> Self {
        let hint = "Look at the overview for the jobs that there are: it knows every file of the folder of \
                    jobs, and every job with a report.";
        let message = format!("there is no job `{name}`");
        Self::new(StatusCode::NOT_FOUND, "job_unknown", message, hint)
    }

    pub fn no_drill(id: &str) -> Self {
        let hint = "It does not run, and no report of it is kept: it may have been pruned, or its job names no \
                    `report.store`.";
        let message = format!("there is no drill `{id}`");
        Self::new(StatusCode::NOT_FOUND, "drill_unknown", message, hint)
    }

    pub fn no_archive(id: &str) -> Self {
        let hint = "The list of archives has the address of each.";
        let message = format!("no job has an archive `{id}`");
        Self::new(StatusCode::NOT_FOUND, "archive_unknown", message, hint)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        let hint = "The API is described at /api/v1/openapi.json.";
        Self::new(StatusCode::BAD_REQUEST, "invalid", message, hint)
    }

    pub fn off() -> Self {
        let hint = "Start the service with `--token-file FILE` to allow it.";
        let message = "drills cannot be started here: the service has no token";
        Self::new(StatusCode::FORBIDDEN, "start_off", message, hint)
    }

    pub fn wrong_token() -> Self {
        let hint = "Give the one in the file that `--token-file` of the service names.";
        Self::new(StatusCode::UNAUTHORIZED, "token_wrong", "the token is not the right one", hint)
    }

    pub fn no_answer() -> Self {
        let hint = "Look at the log of the service for what its stores say, and try again.";
        let message = "the store of reports does not answer in time";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "store_silent", message, hint)
    }

    pub fn late() -> Self {
        let hint = "Send the whole request at once, and try again.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timed_out", "the request took too long", hint)
    }

    pub fn declined(job: &str, why: Declined) -> Self {
        let conflict = StatusCode::CONFLICT;
        match why {
            Declined::NotAsked(NotAsked::Unknown) => Self::new(
                StatusCode::NOT_FOUND,
                "job_not_in_folder",
                format!("no file of the folder has a job `{job}`"),
                "Only jobs of the folder of jobs can be started.",
            ),
            Declined::NotAsked(NotAsked::Runs) => Self::new(
                conflict,
                "drill_running",
                format!("a drill of `{job}` runs already"),
                "Wait for its end; it is on the page of the job.",
            ),
            Declined::NotAsked(NotAsked::Waits) => Self::new(
                conflict,
                "drill_waiting",
                format!("a drill of `{job}` waits already"),
                "It begins when there is room for it.",
            ),
            Declined::NotAsked(NotAsked::TooLarge) => Self::new(
                conflict,
                "drill_too_large",
                format!("`{job}` needs more than all drills may take together"),
                "Raise `--max-disk`, `--max-memory` or `--max-bandwidth` of the service, or lower what the job \
                 asks for.",
            ),
            Declined::Stopping => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the service is being stopped",
                "Ask again when it is back.",
            ),
        }
    }

    /// As the API says it.
    pub fn view(&self) -> ErrorView {
        ErrorView {
            error: ErrorBody {
                code: self.code,
                message: self.message.clone(),
                hint: self.hint.clone(),
            },
        }
    }

    /// What a browser or a program is told beside the words.
    pub fn dress(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl Problem {
    /// Something that the service could not do.
    pub fn of(error: &Error) -> Self {
        let status = match error.code.kind() {
            ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
            // The store or what the job says of it: nothing that the request could mend.
            ErrorKind::Usage | ErrorKind::Environment | ErrorKind::Interrupted => {
                StatusCode::BAD_GATEWAY
            }
        };
        let hint = error.hint.clone();
        Self { status, code: error.code.as_str(), message: error.to_string(), hint }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.dress(Json(self.view()).into_response())
    }
}
