//! Compiles policies one after the other, of which each differs little from the one before.

use time::OffsetDateTime;

use super::{Classified, Compilation, Compiled, Left, Options};
use crate::binding::Binding;
use crate::diagnostic::Diagnostics;
use crate::policy::Policy;

/// Compiles as [`Policy::compile_with`] does, to the same tables, and remembers what it takes longest to find: which sets clauses
/// share, how their addresses are grouped, which pairs of groups there are, and the tries that lead to them. The groups follow
/// from the addresses that the clauses name, one after the other; while they are the same, they are not looked for again.
#[derive(Default)]
pub struct Compiler {
    last: Option<Left>,
}

impl Compiler {
    /// Compiles a policy.
    ///
    /// # Errors
    ///
    /// As [`Policy::compile_with`]; what was remembered is forgotten then.
    pub fn compile(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        now: OffsetDateTime,
        options: &Options,
    ) -> Result<Compiled, Diagnostics> {
        let Compilation { list, operands, classifier, compiled } =
            Compilation::new(policy, binding, now, options, self.last.take())?;
        self.last = Some(Left { list, classified: Classified { operands, classifier } });
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::rules::Change;
    use super::*;
    use crate::{Reader, SourceFile};

    const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n";

    fn rule(id: &str, source: &str, service: &str) -> String {
        format!(
            "[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"{source}\"]\nservices = [\"{service}\"]\n\
             action = \"allow\"\n"
        )
    }

    /// Compiles some rules between many others.
    fn compile(reader: &mut Reader, compiler: &mut Compiler, middle: &str) -> Compiled {
        let others = |name: &str| (0..OTHERS).map(|n| rule(&format!("{name}-{n}"), "10.9.0.0/16", "udp/53")).collect();
        let [front, behind]: [String; 2] = ["front", "behind"].map(others);
        let text = format!("{HEAD}{front}{middle}{behind}");
        let policy = reader.load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap();
        let (binding, now) = (Binding::offline(policy), OffsetDateTime::UNIX_EPOCH);
        compiler.compile(policy, &binding, now, &Options::default()).unwrap()
    }

    const OTHERS: usize = 200;

    #[test]
    fn what_an_edit_leaves_alone_is_shared() {
        let (mut reader, mut compiler) = (Reader::default(), Compiler::default());
        let addresses = |compiler: &Compiler| compiler.last.as_ref().unwrap().classified.operands[0].addresses.clone();
        let before = compile(&mut reader, &mut compiler, &rule("r", "10.0.0.0/16", "tcp/81"));
        let addresses_before = addresses(&compiler);
        let after = compile(&mut reader, &mut compiler, &rule("r", "10.0.0.0/16", "tcp/82"));
        let shared = before.rules.iter().zip(after.rules.iter()).filter(|(one, other)| std::ptr::eq(*one, *other));
        // But for the pages of the rule and at both ends.
        assert!(shared.count() > 2 * OTHERS - 3 * 64);
        // Sets that were not worked out again are the same ones, and not only equal.
        let pairs: Vec<_> = addresses_before.into_iter().zip(addresses(&compiler)).collect();
        assert!(pairs.iter().all(|(one, other)| Arc::ptr_eq(one, other)));
        assert_ne!(before.tables, after.tables);
        assert_ne!(before.digest, after.digest);
    }

    #[test]
    fn only_clauses_that_differ_are_made_anew() {
        let (mut reader, mut compiler) = (Reader::default(), Compiler::default());
        let change = |compiler: &Compiler| {
            let list = &compiler.last.as_ref().unwrap().list;
            let change = list.change.clone();
            change.map(|Change { old, new }| (old.len(), new.len(), list.clauses.len() - new.end))
        };
        let middle = rule("r", "10.0.0.0/16", "tcp/81");
        compile(&mut reader, &mut compiler, &middle);
        assert_eq!(change(&compiler), None, "there is nothing before");
        compile(&mut reader, &mut compiler, &rule("r", "10.0.0.0/16", "tcp/82"));
        assert_eq!(change(&compiler), Some((1, 1, OTHERS)));
        compile(&mut reader, &mut compiler, &(rule("s", "10.0.0.0/16", "tcp/82") + &middle));
        assert_eq!(change(&compiler), Some((1, 2, OTHERS)));
        compile(&mut reader, &mut compiler, "");
        assert_eq!(
            change(&compiler),
            Some((3, 1, OTHERS - 1)),
            "an edit begins with the rule in front of what is gone"
        );
    }
}
