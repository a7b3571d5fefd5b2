// A run-time choice between the baseline instruction set and AVX2. A kernel's body is an ICD_INLINE template that is called
// from two functions, one of them marked ICD_AVX2; the compiler vectorizes it for each. Neither fuses multiplications with
// additions, so both give the same bits.
#pragma once

#include <cstdlib>
#include <cstring>

#if defined(__GNUC__) && defined(__x86_64__)
#define ICD_HAS_AVX2_VARIANT 1
#define ICD_AVX2 __attribute__((target("avx2")))
#else
#define ICD_HAS_AVX2_VARIANT 0
#define ICD_AVX2
#endif

#if defined(__GNUC__)
#define ICD_INLINE inline __attribute__((always_inline))
#define ICD_PREFETCH(address) __builtin_prefetch(address)
#else
#define ICD_INLINE inline
#define ICD_PREFETCH(address) (void)(address)
#endif

namespace icd {

// True where the processor has AVX2 and the environment does not say ICD_AVX2=0.
inline bool use_avx2() {
#if ICD_HAS_AVX2_VARIANT
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
