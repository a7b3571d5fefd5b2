// Vectors of floats in the notation that GCC and Clang share on all processors, and a run-time choice of AVX2.
//
// A kernel's body is an ICD_INLINE template over the vector's length. Where AVX2 pays it is called from two functions, one of
// them marked ICD_AVX2, and use_avx2() chooses. Neither fuses multiplications with additions: both give the same bits.
#pragma once

#include <cstdlib>
#include <cstring>

#define ICD_INLINE inline __attribute__((always_inline))
#define ICD_PREFETCH(address) __builtin_prefetch(address)

#if defined(__x86_64__)
#define ICD_AVX2 __attribute__((target("avx2")))
#else
#define ICD_AVX2
#endif

namespace icd {

template <int length>
struct FloatsOf {
    typedef float type __attribute__((vector_size(length * sizeof(float))));
};
template <int length>
using Floats = typename FloatsOf<length>::type;

typedef double Doubles4 __attribute__((vector_size(4 * sizeof(double))));

template <int length>
ICD_INLINE void load(const float* from, Floats<length>& vector) {
    std::memcpy(&vector, from, sizeof vector);
}

template <int length>
ICD_INLINE void store(const Floats<length>& vector, float* to) {
    std::memcpy(to, &vector, sizeof vector);
}

// True where the processor has AVX2 and the environment does not say ICD_AVX2=0.
inline bool use_avx2() {
#if defined(__x86_64__)
    static const bool use = [] {
        const char* wish = std::getenv("ICD_AVX2");
        return __builtin_cpu_supports("avx2") && !(wish && std::strcmp(wish, "0") == 0);
    }();
    return use;
#else
    return false;
#endif
}

}  // namespace icd
