//! Compiles policies one after the other, of which each differs little from the one before.

use time::OffsetDateTime;

use super::{Compilation, Compiled, Left, Options};
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
        self.last = Some(Left { infos: list.infos, clauses: list.clauses, operands, classifier });
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Reader, RuleInfo, SourceFile};

    const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n";

    fn rule(id: &str, source: &str, service: &str) -> String {
        format!(
            "[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"{source}\"]\nservices = [\"{service}\"]\n\
             action = \"allow\"\n"
        )
    }

    /// Compiles a rule between two others.
    fn compile(reader: &mut Reader, compiler: &mut Compiler, middle: &str) -> Compiled {
        let ends = [rule("first", "10.0.0.0/8", "tcp/80"), rule("last", "10.9.0.0/16", "udp/53")];
        let text = format!("{HEAD}{}{middle}{}", ends[0], ends[1]);
        let policy = reader.load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap();
        let (binding, now) = (Binding::offline(policy), OffsetDateTime::UNIX_EPOCH);
        compiler.compile(policy, &binding, now, &Options::default()).unwrap()
    }

    #[test]
    fn what_an_edit_leaves_alone_is_shared() {
        let (mut reader, mut compiler) = (Reader::default(), Compiler::default());
        let addresses = |compiler: &Compiler| compiler.last.as_ref().unwrap().operands[0].addresses.clone();
        let before = compile(&mut reader, &mut compiler, &rule("r", "10.0.0.0/16", "tcp/81"));
        let addresses_before = addresses(&compiler);
        let after = compile(&mut reader, &mut compiler, &rule("r", "10.0.0.0/16", "tcp/82"));
        let of_the_policy = |rule: &&Arc<RuleInfo>| rule.line != 0 && rule.id != "default";
        let rules = before.rules.iter().filter(of_the_policy).zip(after.rules.iter().filter(of_the_policy));
        assert_eq!(rules.filter(|(one, other)| Arc::ptr_eq(one, other)).count(), 3);
        // Sets that were not worked out again are the same ones, and not only equal.
        let pairs: Vec<_> = addresses_before.into_iter().zip(addresses(&compiler)).collect();
        assert!(pairs.iter().all(|(one, other)| Arc::ptr_eq(one, other)));
        assert_ne!(before.tables, after.tables);
    }
}
