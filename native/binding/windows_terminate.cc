// What std::terminate does on Windows, where the C++ library is inside of the binary: that library's own handler prints
// the name of the exception, and brings a demangler and a printf for it.
#if defined(_WIN32)
#include <cstdlib>
#include <exception>

void __gnu_cxx::__verbose_terminate_handler() { std::abort(); }
#endif
