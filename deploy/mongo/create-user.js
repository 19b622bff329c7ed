// The first start of an empty MongoDB: makes the user that Metasync signs in
// as. It may read and write its own database, indexes included, and has no
// right anywhere else.
const name = process.env.METASYNC_DB_NAME;
const user = process.env.METASYNC_DB_USER;
const password = process.env.METASYNC_DB_PASSWORD;
if (!name || !user || !password) {
  throw new Error("METASYNC_DB_NAME, _USER and _PASSWORD are needed");
}
db.getSiblingDB(name).createUser({
  user,
  pwd: password,
  roles: [{ role: "readWrite", db: name }],
});
