//! Functions that the verifier verifies once.
//!
//! VERIFIER: a function inside the object is verified anew for each call and all that the caller knows there; one with a symbol of
//! its own, a global function, once, for arguments of which nothing is known (kernel/bpf/verifier.c, `do_check_subprogs`). What
//! it returns is a number of which nothing is known either, so that what follows the call is not verified for each path
//! through the function. Test: `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.

/// Defines a global function of the job, of a pointer to a map value, and of numbers. `else` is what it returns if a pointer is
/// null, which none ever is; but the verifier does not know. Or one of numbers alone.
macro_rules! verified_once {
    ($(#[$doc:meta])* fn $name:ident($($number:ident: $type:ty),+) -> u32 $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        fn $name($($number: $type),+) -> u32 {
            // SAFETY: no other function of the object has this name.
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name($($number: $type),+) -> u32 $body
            $name($($number),+)
        }
    };
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($job:ident: &mut Job $(, &$pointer:ident: $target:ty)? $(, $number:ident: u32)*) -> u32 $body:block else $otherwise:expr) => {
        $(#[$doc])*
        #[inline(always)]
        $visibility fn $name(job: &mut Job $(, $pointer: core::ptr::NonNull<$target>)? $(, $number: u32)*) -> u32 {
            // SAFETY: no other function of the object has this name.
            #[unsafe(no_mangle)]
            #[inline(never)]
            unsafe extern "C" fn $name(job: *mut Job $(, $pointer: *mut $target)? $(, $number: u32)*) -> u32 {
                // SAFETY: null, or the scratch space of this processor and program.
                let Some($job) = (unsafe { job.as_mut() }) else { return $otherwise };
                $(let Some($pointer) = core::ptr::NonNull::new($pointer) else { return $otherwise };)?
                $body
            }
            // SAFETY: the job is this processor's, the other pointer that of a live map value.
            unsafe { $name(job $(, $pointer.as_ptr())? $(, $number)*) }
        }
    };
}

pub(crate) use verified_once;
