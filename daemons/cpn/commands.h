/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The commands of `cpn`. Each takes its own argv (argv[0] is its last word) and returns the exit status. */
#ifndef CPN_COMMANDS_H
#define CPN_COMMANDS_H

int command_join(int argc, char **argv);
int command_model_train_faces(int argc, char **argv);
int command_model_push(int argc, char **argv);
int command_model_rm(int argc, char **argv);
int command_models(int argc, char **argv);
int command_predict(int argc, char **argv);
int command_nodes(int argc, char **argv);
int command_node_revoke(int argc, char **argv);
int command_node_drain(int argc, char **argv);
int command_node_resume(int argc, char **argv);
int command_users(int argc, char **argv);
int command_user_revoke(int argc, char **argv);
int command_user_grant_publish(int argc, char **argv);
int command_user_deny_publish(int argc, char **argv);
int command_train(int argc, char **argv);
int command_sessions(int argc, char **argv);
int command_sessions_show(int argc, char **argv);
int command_sessions_watch(int argc, char **argv);
int command_sessions_stop(int argc, char **argv);
int command_sessions_export(int argc, char **argv);
int command_sessions_publish(int argc, char **argv);
int command_tasks(int argc, char **argv);
int command_events(int argc, char **argv);
int command_token_create(int argc, char **argv);
int command_token_list(int argc, char **argv);
int command_token_revoke(int argc, char **argv);

#endif
