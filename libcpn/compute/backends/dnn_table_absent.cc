/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* dnn_table.hh in a build without what writes and reads outcomes of training. */
#include "dnn_table.hh"

namespace cpni
{

Model *make_table_model(const cpn_backend_bundle &)
{
    throw Failure { CPN_EMODEL, "this node's opencv.dnn was built without tables (option train): install jansson and "
                                "protobuf-c, and build cpn anew" };
}

} // namespace cpni
