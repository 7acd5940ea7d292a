//! What is wrong with the page that is shown: parts that do not fit, and what people cannot see or reach.

use std::fs;

use serde_json::Value;

use super::Browser;
use crate::support::tools::tool;

/// Whether the page is wider than its window, and which parts make it so. Parts of a box that scrolls by
/// itself do not.
const OVERFLOW: &str = "(() => {
    const root = document.documentElement, wide = root.clientWidth;
    if (root.scrollWidth <= wide) return [];
    const boxed = part => {
        for (let box = part.parentElement; box && box !== document.body; box = box.parentElement)
            if (getComputedStyle(box).overflowX !== 'visible') return true;
        return false;
    };
    const parts = [...document.body.querySelectorAll('*')].filter(
        part => part.getBoundingClientRect().right > wide + 1 && !boxed(part));
    return [`the page is ${root.scrollWidth} px wide, its window ${wide} px`].concat(parts.slice(0, 8).map(
        part => `up to ${Math.round(part.getBoundingClientRect().right)} px: ${part.outerHTML.slice(0, 120)}`));
})()";

/// Style sheets are in the page: axe need not fetch any.
const AXE: &str = "axe.run(document, {preload: false, resultTypes: ['violations']}).then(found =>
    found.violations.flatMap(rule => rule.nodes.map(
        node => `${rule.impact} ${rule.id}: ${rule.help}: ${node.html.slice(0, 160)} ${node.failureSummary || ''}`)))";

impl Browser {
    /// The parts of the page that stick out of its window; none where it fits.
    pub fn overflow(&self) -> Vec<String> {
        sentences(&self.evaluate(OVERFLOW))
    }

    /// What axe-core finds against the page's accessibility, of every impact, each with its element.
    pub fn axe(&self) -> Vec<String> {
        if self.evaluate("typeof axe") == "undefined" {
            // By the browser and not by a script element, which a page's policy forbids.
            self.evaluate(&fs::read_to_string(tool("axe-core/axe.min.js")).unwrap());
        }
        sentences(&self.evaluate(AXE))
    }
}

fn sentences(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}
