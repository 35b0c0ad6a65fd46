// Quantised weights on x86: panels hold codes as quantised-inl.h gives them. The including file says kSignedQ8 first.
#pragma once
#include "cpu/kernels/quantised-inl.h"

template <class Codes>
inline void to_packed(I*) {}

#include "cpu/kernels/quantised_pack-inl.h"
