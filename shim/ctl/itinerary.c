/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/itinerary.h"

#include <assert.h>

int itinerary_run(Journey *j, const Itinerary *it, ItineraryBefore before, Mover *m,
                  Error *reterr) {
        assert(it->n_steps <= ITINERARY_STEPS_MAX);
        *j = (Journey){ .itinerary = it };
        for (size_t i = 0; i < it->n_steps; i++) {
                const ItineraryStep *step = &it->steps[i];
                int r;

                if (step->wanted && !step->wanted(m))
                        continue;
                r = before(m, step, reterr);
                if (r < 0)
                        return r;
                j->begun[i] = true;
                r = step->run(m, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int itinerary_undo(Journey *j, Mover *m, Error *reterr) {
        for (size_t i = j->itinerary ? j->itinerary->n_steps : 0; i-- > 0;) {
                const ItineraryStep *step = &j->itinerary->steps[i];
                int r = j->begun[i] && step->undo ? step->undo(m, reterr) : 0;

                if (r < 0)
                        return r;
                j->begun[i] = false;
        }
        return 0;
}
