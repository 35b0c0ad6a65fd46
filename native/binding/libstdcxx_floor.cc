// What newer libstdc++ headers call and older libraries lack, by what those have: so that an addon built by GCC 12
// loads beside the libstdc++ of GCC 8 (GLIBCXX_3.4.25, CXXABI_1.3.11). The addon's own definitions come before the
// library's, and its version script keeps them to itself.
#include <new>
#if defined(__linux__) && defined(__GLIBC__) && defined(__GLIBCXX__)

// condition_variable::wait got another exception specification, and a version, in GLIBCXX_3.4.30
extern "C" void llava_old_wait(void* condition, void* lock);
__asm__(".symver llava_old_wait,_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");
extern "C" void llava_wait(void* condition,
                           void* lock) __asm__("_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE");
void llava_wait(void* condition, void* lock) { llava_old_wait(condition, lock); }

// exception_ptr's destructor became inline in CXXABI_1.3.13, with _M_release as what it calls
extern "C" void llava_old_exception_ptr_destructor(void* pointer);
__asm__(".symver llava_old_exception_ptr_destructor,_ZNSt15__exception_ptr13exception_ptrD1Ev@CXXABI_1.3.3");
extern "C" void llava_exception_ptr_release(void* pointer) __asm__(
    "_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");
void llava_exception_ptr_release(void* pointer) { llava_old_exception_ptr_destructor(pointer); }

// thrown by std::allocator for sizes that overflow, from GLIBCXX_3.4.29 on
extern "C" [[noreturn]] void llava_throw_bad_array_new_length() __asm__("_ZSt28__throw_bad_array_new_lengthv");
void llava_throw_bad_array_new_length() { throw std::bad_array_new_length(); }

#endif
