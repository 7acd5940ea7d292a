//! `notify:`: who is told of a drill.

use super::{
    archive::secret,
    checks::entries,
    value::short,
    walker::{Complaint, Value},
};
use crate::drill::job::{Job, Notify, NotifyWhen, WebhookFormat};

const HINT: &str = "Write `- webhook: {url: {env: NAME}}` or `- ping: {url: {env: NAME}}`.";
const URL_HINT: &str =
    "Write where the URL is: `url: {env: NAME}` or `url: {file: /run/secrets/name}`.";

pub(super) fn notify(value: Value<'_>) -> Option<Vec<Notify>> {
    entries(value, one)
}

fn one(value: Value<'_>) -> Option<Notify> {
    value.fields(|fields| {
        let webhook = fields.optional("webhook", webhook);
        let ping = fields.optional("ping", ping);
        if fields.given(&["webhook", "ping"]).len() != 1 {
            fields.complain(Complaint::new("must name one way of telling", HINT));
            return None;
        }
        webhook.or(ping)
    })?
}

fn webhook(value: Value<'_>) -> Option<Notify> {
    value.fields(|fields| {
        let url = fields.required("url", URL_HINT, secret);
        let format = fields.parsed("format", format);
        let when = fields.parsed("when", when);
        let (format, when) = (format.unwrap_or_default(), when.unwrap_or_default());
        Some(Notify::Webhook { url: url?, format, when })
    })?
}

fn ping(value: Value<'_>) -> Option<Notify> {
    value.fields(|fields| fields.required("url", URL_HINT, secret).map(Notify::Ping))?
}

fn format(text: &str) -> Result<WebhookFormat, Complaint> {
    match text.trim() {
        "json" => Ok(WebhookFormat::Json),
        "slack" => Ok(WebhookFormat::Slack),
        other => Err(Complaint::new(
            format!("`{}` is not a format of webhooks", short(other)),
            "Write `json` or `slack`.",
        )),
    }
}

fn when(text: &str) -> Result<NotifyWhen, Complaint> {
    match text.trim() {
        "always" => Ok(NotifyWhen::Always),
        "change" => Ok(NotifyWhen::Change),
        "problem" => Ok(NotifyWhen::Problem),
        other => Err(Complaint::new(
            format!("`{}` does not say when to tell", short(other)),
            "Write `change` (of the verdict), `problem` (all but `pass`) or `always`.",
        )),
    }
}

/// A change is seen beside the report of the drill before.
pub(super) fn change_without_reports(job: &Job) -> Option<Complaint> {
    let by_change =
        |notify: &Notify| matches!(notify, Notify::Webhook { when: NotifyWhen::Change, .. });
    (job.report_store.is_none() && job.notify.iter().any(by_change)).then(|| {
        Complaint::new(
            "a webhook is told changes of the verdict, but the job keeps no reports to compare with",
            "Write `report: {store: …}` into the job, or `when: problem` or `when: always`.",
        )
    })
}
