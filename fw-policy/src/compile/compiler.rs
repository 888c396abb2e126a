//! Compiles policies one after the other, of which each differs little from the one before.

use time::OffsetDateTime;

use super::{Compilation, Compiled, Grouped, Options};
use crate::binding::Binding;
use crate::diagnostic::Diagnostics;
use crate::policy::Policy;

/// Compiles as [`Policy::compile_with`] does, to the same tables, and remembers what it takes longest to find: how addresses are
/// grouped, which pairs of groups there are, and the tries that lead to them. All of that follows from the addresses that the
/// clauses name, one after the other; while they are the same, it is not looked for again.
#[derive(Default)]
pub struct Compiler {
    last: Option<Grouped>,
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
        let Compilation { operands, classifier, compiled, .. } =
            Compilation::new(policy, binding, now, options, self.last.take())?;
        self.last = Some(Grouped { operands, classifier });
        Ok(compiled)
    }
}
