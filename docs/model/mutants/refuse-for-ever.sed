# SPDX-License-Identifier: Apache-2.0
# D answers KEPT with the word for "still holding"
# caught by: ends
s/dd == NONE -> send(to_s, GONE)/dd == NONE -> send(to_s, REFUSED)/
