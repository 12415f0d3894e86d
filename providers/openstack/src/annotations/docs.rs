//! The reference page of the annotations, in Markdown. Pure.

use std::fmt::Write as _;

use super::{Annotation, IfWrong, Merge, ingress, service};

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn rows(page: &mut String, table: &[Annotation]) {
    page.push_str(
        "| Annotation | Value | Without it | In a group | If wrong | Meaning |\n|---|---|---|---|---|---|\n",
    );
    for a in table {
        let merge = match a.merge {
            Merge::Own => "each its own",
            Merge::Exclusive => "the oldest decides",
        };
        let wrong = match a.if_wrong {
            IfWrong::Ignored => "as if absent",
            IfWrong::Refused => "not served",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {merge} | {wrong} | {} |",
            a.key,
            cell(&a.kind.describe()),
            cell(a.default),
            cell(a.doc)
        );
    }
}

/// The reference page.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Annotations on OpenStack\n\nThe table from which this page is made also parses and checks the values. A wrong value is said by an Event on the \
         object, with what to write instead; it then counts as absent, or (\"not served\") keeps the object as it is until it is mended, where the load \
         balancer would otherwise be open or broken. In a group of objects that share a load balancer, each has its own value, or that of the oldest \
         object decides and others that disagree are told.\n\n## On Services\n\n",
    );
    rows(&mut page, service::TABLE);
    let _ = write!(
        page,
        "\n`{}` is written to the object, where its status has a name: the address.\n\n## On Ingresses\n\n",
        service::LOAD_BALANCER_ADDRESS
    );
    rows(&mut page, ingress::TABLE);
    let _ = write!(
        page,
        "\n## On both\n\n| Annotation | Meaning |\n|---|---|\n| `{}` | Name of 1 to 63 lower-case letters, digits and dashes: Services of a \
         namespace with the same name share a load balancer, and so do Ingresses. |\n",
        causeway_api::names::ANNOTATION_GROUP
    );
    page
}
