//! MPI's own functions, behind those of the same name here.
//!
//! They are looked for by their names in the profiling interface, among the libraries that come after this one.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// MPI's libraries, for the case that none comes after this one.
const LIBRARIES: [&CStr; 5] = [c"libmpi.so.40", c"libmpi.so", c"libmpich.so.12", c"libmpich.so", c"libmpi.so.12"];

/// A function of type `F` by its name, looked for once.
pub struct Native<F> {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
    function: PhantomData<F>,
}

impl<F: Copy> Native<F> {
    /// # Safety
    /// The function of this name has the type `F`, a pointer to a function.
    pub const unsafe fn new(name: &'static CStr) -> Native<F> {
        assert!(size_of::<F>() == size_of::<*mut c_void>());
        Native { name, found: AtomicPtr::new(ptr::null_mut()), function: PhantomData }
    }

    /// The function. Without it nothing can go on, so the process ends.
    pub fn get(&self) -> F {
        self.find().unwrap_or_else(|| {
            eprintln!(
                "pfs: MPI has no function {}; is MPI's library there, and behind this one?",
                self.name.to_string_lossy()
            );
            std::process::abort();
        })
    }

    /// The function, if there is one.
    pub fn find(&self) -> Option<F> {
        let mut found = self.found.load(Ordering::Relaxed);
        if found.is_null() {
            found = look_up(self.name);
            self.found.store(found, Ordering::Relaxed);
        }
        // SAFETY: it is the address of a function, whose type the caller of `new` has vouched for; sizes were compared there.
        (!found.is_null()).then(|| unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) })
    }
}

// SAFETY: it is an address.
unsafe impl<F> Sync for Native<F> {}

fn look_up(name: &CStr) -> *mut c_void {
    // SAFETY: the names end with a zero; nothing is loaded that was not there, and nothing is closed.
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, name.as_ptr());
        if !next.is_null() {
            return next;
        }
        for library in LIBRARIES {
            let handle = libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if !handle.is_null() {
                let found = libc::dlsym(handle, name.as_ptr());
                if !found.is_null() {
                    return found;
                }
            }
        }
    }
    ptr::null_mut()
}

/// A function of MPI's profiling interface, by the name without its `P` and its type.
macro_rules! native {
    ($name:ident: $($type:tt)*) => {{
        // The names of both are given by the same token, so the standard has said what type it is.
        const NAME: &std::ffi::CStr =
            match std::ffi::CStr::from_bytes_with_nul(concat!("P", stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name has no zero in it"),
            };
        // SAFETY: see above.
        static NATIVE: $crate::native::Native<$($type)*> = unsafe { $crate::native::Native::new(NAME) };
        &NATIVE
    }};
}

pub(crate) use native;
