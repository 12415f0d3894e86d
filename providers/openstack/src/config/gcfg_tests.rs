use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn values(text: &str) -> Vec<(String, Option<String>)> {
    let file = parse("cloud.conf", text).expect("well-formed");
    file.sections.into_iter().flat_map(|s| s.entries).map(|e| (e.key, e.value)).collect()
}

#[rstest]
#[case::plain("a=b", Some("b"))]
#[case::spaces("a \t = \t b c  ", Some("b c"))]
#[case::no_space("a=b", Some("b"))]
#[case::blank("a", None)]
#[case::blank_comment("a ; why", None)]
#[case::empty("a =", Some(""))]
#[case::empty_comment("a = # why", Some(""))]
#[case::comment("a = b ; why", Some("b"))]
#[case::hash_in_value("a = b#c", Some("b"))]
#[case::semicolon_in_value("a = b;c", Some("b"))]
#[case::equals_in_value("a = b=c==", Some("b=c=="))]
#[case::quoted("a = \"b c\"", Some("b c"))]
#[case::quoted_spaces("a = \"  b  \"", Some("  b  "))]
#[case::quoted_hash("a = \"b#c;d\"", Some("b#c;d"))]
#[case::quoted_part("a = b\" c #\"d", Some("b c #d"))]
#[case::quoted_then_spaces("a = \" b \"   ", Some(" b "))]
#[case::quoted_empty("a = \"\"", Some(""))]
#[case::escapes(r#"a = "x\\y\"z\n\t""#, Some("x\\y\"z\n\t"))]
#[case::joined("a = b \\\n  c", Some("b   c"))]
#[case::joined_crlf("a = b\\\r\nc\r", Some("bc"))]
#[case::crlf("a = b\r", Some("b"))]
#[case::apostrophe("a = it's", Some("it's"))]
#[case::brackets("a = [x]", Some("[x]"))]
#[case::unicode("a = pässwört€", Some("pässwört€"))]
#[case::url("a = https://keystone.example:5000/v3", Some("https://keystone.example:5000/v3"))]
#[case::digits("a1-b = 1", Some("1"))]
fn one_value(#[case] line: &str, #[case] expected: Option<&str>) {
    for text in
        [format!("[S]\n{line}"), format!("\u{feff}[S]\n{line}\n"), format!("[S]\r\n\r\n{line}\n\n# end")]
    {
        let got = values(&text);
        assert_eq!(got.len(), 1, "{text:?}");
        assert_eq!(got[0].1.as_deref(), expected, "{text:?}");
    }
}

#[rstest]
#[case::no_section("a = b", 1, "no section")]
#[case::no_equals("[S]\na b", 2, "a = is expected")]
#[case::underscore("[S]\nauth_url = x", 2, "letters, digits and -")]
#[case::open_quote("[S]\n\na = \"b", 3, "not closed")]
#[case::quote_over_lines("[S]\na = \"b\nc\"", 2, "not closed")]
#[case::bad_escape("[S]\na = \"b\\c\"", 2, "escapes")]
#[case::backslash("[S]\npassword = b\\c", 2, "put the value in")]
#[case::header_open("[S\na = b", 1, "not closed")]
#[case::header_empty("[]", 1, "name of a section")]
#[case::header_digit("[1a]", 1, "name of a section")]
#[case::header_unquoted("[LoadBalancerClass x]", 1, "with quotes")]
#[case::header_no_sub("[A \"\"]", 1, "no name")]
#[case::header_open_quote("[A \"x]", 1, "quote is not closed")]
#[case::header_trailing("[A] b", 1, "nothing but a comment")]
#[case::garbage("[A]\n=x", 2, "is expected here")]
#[case::digit_key("[A]\n1a=x", 2, "is expected here")]
fn refused(#[case] text: &str, #[case] line: usize, #[case] words: &str) {
    let problems = parse("/etc/cloud.conf", text).expect_err("malformed");
    assert_eq!(problems[0].object.name, format!("/etc/cloud.conf:{line}"), "{problems:?}");
    assert!(problems[0].message.contains(words), "{problems:?}");
}

#[test]
fn all_faults_are_told_at_once() {
    let problems = parse("f", "a = 1\n[S]\nb c\nd = \"\ne = f\n[T\n").expect_err("malformed");
    let lines: Vec<&str> = problems.iter().map(|p| p.object.name.as_str()).collect();
    assert_eq!(lines, ["f:1", "f:3", "f:4", "f:6"]);
}

#[test]
fn sections() {
    let text = "[Global]\na = 1\n[LoadBalancerClass \"Gold\"] ; why\nb=2\n[LOADBALANCERCLASS \"gold\"]\nb=3\n[global]\nA = 4\n\
                [x \"a\\\\b\\\"c\"]\n[ y ]\n";
    let file = parse("f", text).expect("well-formed");
    let headers: Vec<String> = file.sections.iter().map(Section::header).collect();
    assert_eq!(
        headers,
        [
            "[Global]",
            "[LoadBalancerClass \"Gold\"]",
            "[LOADBALANCERCLASS \"gold\"]",
            "[x \"a\\b\"c\"]",
            "[y]"
        ]
    );
    let global = &file.sections[0];
    assert_eq!(global.last("a").map(Entry::text), Some("4"), "the last counts");
    assert_eq!(global.entries.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 8]);
    assert_eq!(file.named("loadbalancerclass").count(), 2);
    let place = file.place(global, &global.entries[1]);
    assert_eq!((place.line, place.key.as_str()), (8, "[Global] a"));
}

#[rstest]
#[case("true", Some(true))]
#[case("YES", Some(true))]
#[case("On", Some(true))]
#[case("1", Some(true))]
#[case("false", Some(false))]
#[case("no", Some(false))]
#[case("OFF", Some(false))]
#[case("0", Some(false))]
#[case("", None)]
#[case("2", None)]
#[case("t", None)]
fn switches(#[case] text: &str, #[case] expected: Option<bool>) {
    assert_eq!(switch(text), expected);
    let entry = Entry { key: "a".to_owned(), value: Some(text.to_owned()), line: 1 };
    assert_eq!(entry.switch(), expected);
    assert_eq!(Entry { value: None, ..entry }.switch(), Some(true), "blank");
}

#[test]
fn values_are_not_shown() {
    let file = parse("f", "[Global]\npassword = hunter2").expect("well-formed");
    assert!(!format!("{file:?}").contains("hunter2"));
    let problems =
        parse("f", "[Global]\npassword = \"hunter2\\q\"\npassword = hun\\ter2").expect_err("malformed");
    assert!(!format!("{problems:?}").contains("hunter2") && !format!("{problems:?}").contains("ter2"));
}

proptest! {
    #[test]
    fn any_value_can_be_written_in_quotes(value in "\\PC*") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let file = parse("f", &format!("[S]\nk = \"{quoted}\" # c")).expect("well-formed");
        prop_assert_eq!(file.sections[0].entries[0].text(), value);
    }

    #[test]
    fn nothing_panics_and_every_problem_has_its_line(text in "[\\[\\]a-c \"\\\\=;#\n\r\t]{0,60}") {
        let lines = text.lines().count().max(1) + 1;
        if let Err(problems) = parse("f", &text) {
            for problem in problems {
                let line: usize = problem.object.name.rsplit(':').next().and_then(|n| n.parse().ok()).expect("a line");
                prop_assert!((1..=lines).contains(&line));
            }
        }
    }
}
