package storage

// Instance is a network as one application service knows it.
type Instance struct {
	ID         string // what clients call it
	Appservice string
}

// SetListed puts a room into an application service's directory of a network or takes it out.
func (tx *Tx) SetListed(in Instance, room int64, listed bool) error {
	if !listed {
		_, err := tx.exec(`delete from appservice_rooms where instance = $1 and room = $2`, in.ID, room)
		return err
	}
	_, err := tx.exec(`insert into appservice_rooms (instance, appservice, room) values ($1, $2, $3) on conflict (instance, room) do nothing`,
		in.ID, in.Appservice, room)
	return err
}

// NetworkRooms is the directory of a network, largest rooms first, if it is one of some application services.
func (tx *ReadTx) NetworkRooms(instance string, appservices []string) ([]*Room, error) {
	return collect(tx, scanRoom, `select `+roomColumns+` from rooms where nid in (
		select room from appservice_rooms where instance = $1 and `+tx.inTexts("appservice", 2)+`) order by joined desc, nid`, instance, list(appservices))
}

// RoomsOfAllNetworks is the server's own directory and those of all networks of some application services together, largest rooms first.
func (tx *ReadTx) RoomsOfAllNetworks(appservices []string) ([]*Room, error) {
	return collect(tx, scanRoom, `select `+roomColumns+` from rooms where published = 1 or nid in (
		select room from appservice_rooms where `+tx.inTexts("appservice", 1)+`) order by joined desc, nid`, list(appservices))
}
