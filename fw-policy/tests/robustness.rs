//! Whatever is in the files: the answer is a policy or diagnostics, never a panic.

use fw_policy::{Binding, Severity, SourceFile, load};
use proptest::prelude::*;
use time::macros::datetime;

/// A policy that uses the whole language.
const COMPLETE: &str = include_str!("complete.toml");

/// Does everything that can be done with a text.
fn exercise(texts: &[String]) {
    let file = |(number, text): (usize, &String)| SourceFile { name: format!("{number}.toml"), text: text.clone() };
    let files: Vec<SourceFile> = texts.iter().enumerate().map(file).collect();
    let now = datetime!(2026-07-01 0:00 UTC);
    match load(&files) {
        Err(diagnostics) => {
            assert!(!diagnostics.items.is_empty());
            assert!(!diagnostics.render(true).is_empty());
        }
        Ok(policy) => {
            assert_eq!(policy.warning_report().render(false).is_empty(), policy.warnings().is_empty());
            if let Ok(compiled) = policy.compile(&Binding::offline(&policy), now) {
                let _results = policy.run_tests(&compiled, now);
                let found = policy.analyse(&Binding::offline(&policy), now);
                assert!(found.items.iter().all(|finding| finding.severity != Severity::Error), "{found}");
            }
        }
    }
}

#[test]
fn the_complete_policy_is_valid() {
    let policy = load(&[SourceFile { name: "a.toml".into(), text: COMPLETE.into() }]);
    let policy = policy.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!((policy.rules().len(), policy.zones().len(), policy.test_count()), (2, 2, 1));
}

/// Pieces that make texts look like policies.
fn token() -> impl Strategy<Value = String> {
    let words = "version defaults zones addresses services rule zone_pair test networks from to source log action \
                 starts [ ] [[ ]] { } = , . \n \" ' \"\"\" # 1 0x1 -1 1e9 true 2026-01-01 12:00:00 \"any\" \"@a\" \
                 \"!@a\" \"10.0.0.0/8\" \"::/0\" \"tcp/80\" a b \u{e9} \u{0} \r \t";
    let words: Vec<String> = words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    prop_oneof![8 => prop::sample::select(words), 1 => any::<String>(), 3 => Just("\n".to_owned())]
}

/// The complete policy with some of its bytes replaced.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0usize..20, token());
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text: Vec<char> = COMPLETE.chars().collect();
        for (at, removed, inserted) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        exercise(&[text]);
    }

    #[test]
    fn texts_of_tokens(tokens in prop::collection::vec(token(), 0..60)) {
        exercise(&[tokens.join(" "), tokens.concat()]);
    }

    #[test]
    fn a_policy_with_mistakes(text in mutated()) {
        exercise(&[text]);
    }

    #[test]
    fn two_files_with_mistakes(texts in prop::collection::vec(mutated(), 2)) {
        exercise(&texts);
    }
}
