/* The M-profile vector extension (Armv8.1-M: Cortex-M55, M85) as functions, with the same functions
 * in portable C.
 *
 * On a core without the extension, and on the computer that tests the generated code, the portable
 * text runs: every function means the same there, bit for bit. Source: Armv8-M Architecture
 * Reference Manual (DDI 0553), chapter C2.4; Arm C Language Extensions for MVE. */
#ifndef TSR_MVE_H
#define TSR_MVE_H

#include "tsr_mve_dot.h"
#include "tsr_mve_map.h"
#include "tsr_mve_taps.h"
#include "tsr_mve_vector.h"

#endif
