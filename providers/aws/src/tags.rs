//! Tags of what is made: the default ones and those of annotations. Pure.

use causeway_api::{ObjectRef, Problem};

use crate::annotations::reasons;
use crate::annotations::value::MOST_TAGS;
use crate::options::Options;
use crate::stack::Tags;

/// Tags out of an annotation and the default ones. A key that somebody else manages is left out, and said so.
#[must_use]
pub fn merged(
    options: &Options,
    object: &ObjectRef,
    field: &str,
    annotation: Tags,
    problems: &mut Vec<Problem>,
) -> Tags {
    let mut tags = annotation;
    for key in tags.keys().filter(|key| options.external_managed_tags.contains(*key)) {
        problems.push(Problem::warning(
            object.clone(),
            field,
            reasons::INVALID,
            format!("tag {key:?} is managed by somebody else (option external-managed-tags), it is not set: take it away"),
        ));
    }
    tags.retain(|key, _| !options.external_managed_tags.contains(key));
    // The user's are left out first: the default ones are for all.
    let room = MOST_TAGS.saturating_sub(options.default_tags.len());
    if tags.len() > room {
        problems.push(Problem::warning(
            object.clone(),
            field,
            reasons::INVALID,
            format!("with the default ones there are more than {MOST_TAGS} tags, the most that AWS has room for: of these the first {room} by key are set"),
        ));
        tags = tags.into_iter().take(room).collect();
    }
    for (key, value) in &options.default_tags {
        if !options.default_tags_low_priority || !tags.contains_key(key) {
            tags.insert(key.clone(), value.clone());
        }
    }
    tags
}
