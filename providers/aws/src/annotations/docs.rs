//! The reference page of the annotations, in Markdown. Pure.

use std::fmt::Write as _;

use super::{Annotation, IfWrong, Merge, Place, Support, ingress, service};

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn rows(page: &mut String, table: &[Annotation], with_place: bool) {
    let place = if with_place { " On |" } else { "" };
    let line = if with_place { "---|" } else { "" };
    let _ = write!(
        page,
        "| Annotation | Value | Without it |{place} In a group | If wrong | Meaning |\n|---|---|---|{line}---|---|---|\n"
    );
    for a in table.iter().filter(|a| !a.own && !matches!(a.support, Support::None(_))) {
        let place = match a.place {
            Place::IngressOrBackend => " Ingress, Service |",
            Place::Ingress if with_place => " Ingress |",
            _ => "",
        };
        let merge = match a.merge {
            Merge::Own => "each its own",
            Merge::Exclusive => "the oldest decides",
            Merge::Union => "all together",
        };
        let wrong = match a.if_wrong {
            IfWrong::Ignored => "as if absent",
            IfWrong::Refused => "not served",
        };
        let deprecated = match a.support {
            Support::Deprecated(instead) => format!(" Deprecated: {instead}."),
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |{place} {merge} | {wrong} | {}{} |",
            a.key().trim_start_matches(a.prefix()),
            cell(&a.kind.describe()),
            cell(a.default),
            cell(a.doc),
            cell(&deprecated)
        );
    }
    let left_out: Vec<_> = table
        .iter()
        .filter_map(|a| match a.support {
            Support::None(why) => Some((a, why)),
            _ => None,
        })
        .collect();
    page.push_str("\nLeft out on purpose, and said so by an Event on the object:\n\n| Annotation | Why, and what instead |\n|---|---|\n");
    for (a, why) in left_out {
        let _ = writeln!(page, "| `{}` | {} |", a.key().trim_start_matches(a.prefix()), cell(why));
    }
}

/// The reference page.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Annotations on AWS\n\nThe table from which this page is made also parses and checks the values. A wrong value is said by an Event on the \
         object, with what to write instead; it then counts as absent, or (\"not served\") keeps the object as it is until it is mended, where the load \
         balancer would otherwise be open or broken. In a group of objects that share a load balancer, each has its own value, or that of the oldest \
         object decides and others that disagree are told, or the values of all count together.\n",
    );
    let _ = write!(
        page,
        "\n## On Services\n\nThe prefix is `{}`; `{}` is understood too where the other is absent.\n\n",
        service::PREFIX,
        service::ALTERNATIVE_PREFIX
    );
    rows(&mut page, service::TABLE, false);
    let _ = write!(
        page,
        "\n## On Ingresses\n\nThe prefix is `{}`. Where both may have one, that of the Service wins over that of the Ingress.\n\n",
        ingress::PREFIX
    );
    rows(&mut page, ingress::TABLE, true);
    let _ = write!(
        page,
        "\n## Causeway's own\n\n| Annotation | On | Meaning |\n|---|---|---|\n| `{}` | Service | Name of 1 to 63 lower-case letters, digits and dashes: Services of a \
         namespace with the same name share a load balancer. |\n",
        causeway_api::names::ANNOTATION_GROUP
    );
    let own = service::TABLE.iter().map(|a| (a, "Service"));
    let own = own.chain(ingress::TABLE.iter().map(|a| (a, "Ingress"))).filter(|(a, _)| a.own);
    for (a, place) in own {
        let _ = writeln!(
            page,
            "| `{}` | {place} | {}; without it {}. {} |",
            a.key(),
            cell(&a.kind.describe()),
            cell(a.default),
            cell(a.doc)
        );
    }
    page
}
