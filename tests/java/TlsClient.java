import java.io.FileInputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.List;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Judges for the tests: does Java with this store accept the server on this port under this name?
 *
 * <p>Takes a file with a line for each question: store, password, port, name, with tabs between. Prints "ok" or the
 * reason, a line for each. One start of Java answers them all.
 */
public final class TlsClient {
    public static void main(String[] words) throws Exception {
        for (String line : Files.readAllLines(Path.of(words[0]), StandardCharsets.UTF_8)) {
            String[] parts = line.split("\t", -1);
            System.out.println(answer(parts[0], parts[1].toCharArray(), Integer.parseInt(parts[2]), parts[3]));
        }
    }

    private static String answer(String store, char[] password, int port, String name) {
        try (Socket plain = new Socket(InetAddress.getLoopbackAddress(), port)) {
            KeyStore anchors = KeyStore.getInstance(KeyStore.getDefaultType());
            try (FileInputStream in = new FileInputStream(store)) {
                anchors.load(in, password);
            }
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(anchors);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            try (SSLSocket tls = (SSLSocket) context.getSocketFactory().createSocket(plain, name, port, true)) {
                SSLParameters how = tls.getSSLParameters();
                how.setEndpointIdentificationAlgorithm("HTTPS");
                how.setServerNames(List.of(new SNIHostName(name)));
                tls.setSSLParameters(how);
                tls.startHandshake();
                return "ok";
            }
        } catch (Exception e) {
            Throwable last = e;
            while (last.getCause() != null) {
                last = last.getCause();
            }
            return last.toString().replaceAll("\\s+", " ");
        }
    }
}
