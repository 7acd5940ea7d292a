//! What a complaint of amcheck means: damage, this machine's collations, or neither for sure.

use super::catalog::{Kind, Relation, index_collation_mismatch};
use crate::{
    check::{
        CheckContext,
        connection::Connection,
        failure::{ServerError, damage_hint},
    },
    drill::{Error, FailureClass, Finding},
};

/// An error of amcheck as a finding. What another collation version explains is not damage.
pub(super) async fn judge(
    context: &CheckContext,
    connection: &Connection,
    relation: &Relation,
    subject: String,
    error: &ServerError,
) -> Result<Finding, Error> {
    const ORDER: [&str; 6] = [
        "invariant violated",
        "could not find tuple",
        "index uniqueness is violated",
        "cross page item order",
        // Of a GIN index.
        "wrong tuple order on entry tree page",
        "inconsistent records on page",
    ];
    // Rows are looked up by their bytes (`bt_tuple_present_callback`, `verify_nbtree.c`): what an
    // expression or a predicate yields may depend on a collation, a column's value does not.
    let lacks = relation.expressions && error.message.contains("lacks matching index tuple");
    let order = lacks || ORDER.into_iter().any(|words| error.message.contains(words));
    if order && relation.kind != Kind::Heap {
        let mismatched = index_collation_mismatch(connection, relation.oid, context.cluster.major)
            .await
            .map_err(|failure| failure.into_error("looking up collations"))?;
        if mismatched {
            return Ok(Finding::new(
                FailureClass::CollationMismatch,
                subject,
                format!("{}; its collation has another version on this machine", error.text()),
                "Drill where the C library or ICU has the version of production, or `REINDEX` after \
                 a restore to here.",
            ));
        }
    }
    if relation.kind == Kind::Gin && split_unfinished(&error.message) {
        return Ok(Finding::new(
            FailureClass::PageUndecided,
            subject,
            format!(
                "{}; recovery may have ended after this page was split and before its parent was told, \
                 which the next insert mends, or one of the two pages is damaged",
                error.text()
            ),
            "Drill another target. If the index is named again, `REINDEX` it on production.",
        ));
    }
    let mut finding = error.finding(subject);
    // What amcheck calls an internal error of an index is damage of the index, not a lost file.
    let file = ["could not ", "relation fork"].into_iter().any(|w| error.message.contains(w));
    if finding.class == FailureClass::RelationMissing && !file {
        finding.class = FailureClass::AmcheckIndex;
        damage_hint(FailureClass::AmcheckIndex).clone_into(&mut finding.hint);
    }
    Ok(finding)
}

/// Whether a page of a posting tree ends before its parent says it does. A split that the parent does
/// not know of yet (`GIN_INCOMPLETE_SPLIT`, `ginblock.h`) leaves that, and PostgreSQL lives with it;
/// `gin_check_posting_tree_parent_keys_consistency` (`verify_gin.c`) does not look at the flag.
fn split_unfinished(message: &str) -> bool {
    let Some((_, rest)) = message.rsplit_once("posting tree page's high key (") else {
        return false;
    };
    if !rest.contains(") doesn't match the downlink on block ") {
        return false;
    }
    let key = |text: &str| {
        let (block, item) = text.split_once(')')?.0.split_once(", ")?;
        Some((block.parse::<u32>().ok()?, item.parse::<u16>().ok()?))
    };
    let downlink = rest.rsplit_once(", key (").and_then(|(_, text)| key(text));
    matches!((key(rest), downlink), (Some(high), Some(downlink)) if high < downlink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_that_ends_early_may_be_an_unfinished_split() {
        let complaint = |high: &str, downlink: &str| {
            format!(
                "index \"tags\": posting tree page's high key ({high}) doesn't match the downlink on \
                 block 7 (parent blk 3, key ({downlink}))"
            )
        };
        assert!(split_unfinished(&complaint("10, 4", "10, 5")));
        assert!(split_unfinished(&complaint("9, 200", "10, 1")));
        // A split makes a page end earlier, never later.
        assert!(!split_unfinished(&complaint("10, 5", "10, 4")));
        assert!(!split_unfinished(&complaint("11, 1", "10, 200")));
        assert!(!split_unfinished(
            "index \"tags\" has wrong tuple order in posting tree, block 7, offset 2"
        ));
    }
}
